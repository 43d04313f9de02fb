# The account, its administrator, and an end to the first-visitor window. The password comes in the environment.
set -eu
cd /app
: "${ADMIN_EMAIL:?}" "${ACCOUNT_NAME:?}" "${ADMIN_PASSWORD:?}"
bundle exec rails runner - <<'RUBY'
email = ENV.fetch('ADMIN_EMAIL').downcase
unless User.exists?(email: email)
  AccountBuilder.new(account_name: ENV.fetch('ACCOUNT_NAME'), user_full_name: 'Administrador', email: email, user_password: ENV.fetch('ADMIN_PASSWORD'), confirmed: true, super_admin: true).perform
end
Redis::Alfred.delete(Redis::Alfred::CHATWOOT_INSTALLATION_ONBOARDING)
RUBY
