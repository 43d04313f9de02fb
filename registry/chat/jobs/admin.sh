# Creates the account and its administrator, then closes the first-visitor window (a key in Redis). A second run finds the
# user and only closes the window. The password comes in the environment, the script on standard input: nothing in argv.
set -eu
cd /app
: "${CHAT_ADMIN_EMAIL:?}" "${CHAT_ADMIN_NAME:?}" "${CHAT_ACCOUNT_NAME:?}" "${CHAT_ADMIN_PASSWORD:?}"
bundle exec rails runner - <<'RUBY'
email = ENV.fetch('CHAT_ADMIN_EMAIL').downcase
unless User.exists?(email: email)
  AccountBuilder.new(
    account_name: ENV.fetch('CHAT_ACCOUNT_NAME'),
    user_full_name: ENV.fetch('CHAT_ADMIN_NAME'),
    email: email,
    user_password: ENV.fetch('CHAT_ADMIN_PASSWORD'),
    confirmed: true,
    super_admin: true
  ).perform
end
Redis::Alfred.delete(Redis::Alfred::CHATWOOT_INSTALLATION_ONBOARDING)
RUBY
