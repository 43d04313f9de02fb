# Makes the operator's chosen person the owner. The password comes in the environment and leaves in a request's body.
set -eu
: "${FLOW_OWNER_EMAIL:?}" "${FLOW_OWNER_FIRST_NAME:?}" "${FLOW_OWNER_LAST_NAME:?}" "${FLOW_OWNER_PASSWORD:?}"
node - <<'JS'
const { FLOW_OWNER_EMAIL: email, FLOW_OWNER_FIRST_NAME: firstName, FLOW_OWNER_LAST_NAME: lastName, FLOW_OWNER_PASSWORD: password } = process.env
fetch('http://127.0.0.1:5678/rest/owner/setup', {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ email, firstName, lastName, password }),
}).then(async answer => {
  if (answer.ok) return console.log(`${email} owns the instance`)
  const { message } = await answer.json().catch(() => ({ message: '' }))
  console.error(`n8n answered ${answer.status}: ${message}`)
  process.exitCode = 1
}).catch(error => { console.error(String(error)); process.exitCode = 1 })
JS
