# Is the instance owned? Until then its first visitor becomes the owner. (That page is not routed from outside either.)
set -eu
node - <<'JS'
fetch('http://127.0.0.1:5678/rest/settings').then(r => r.json()).then(settings => {
  if (settings.data.userManagement.showSetupOnFirstLoad === false) return
  console.log('the instance has no owner yet')
  process.exitCode = 1
}).catch(error => { console.log(String(error)); process.exitCode = 1 })
JS
