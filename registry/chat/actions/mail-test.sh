# One mail to the administrator, by the server that is set up.
set -eu
cd /app
[ -n "${SMTP_ADDRESS-}" ] || { echo "SMTP_ADDRESS is not set: this chat sends no mail" >&2; exit 1; }
bundle exec rails runner - <<'RUBY'
ActionMailer::Base.mail(
  from: ENV.fetch('MAILER_SENDER_EMAIL'),
  to: ENV.fetch('CHAT_ADMIN_EMAIL'),
  subject: 'Prueba de correo',
  body: 'El servidor de correo funciona.'
).deliver_now
puts "sent to #{ENV.fetch('CHAT_ADMIN_EMAIL')}"
RUBY
