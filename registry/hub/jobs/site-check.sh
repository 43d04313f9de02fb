# Is the site complete? That a site exists does not say that it is installed, and that an app is listed does not say that its
# installation ended well, so the answer is our own ledger (sites/.provision-SITE), written by site.sh as each step ends;
# then that the wanted apps are there, that the database user is not bound to one container's address, and that no
# password was left in the bench's configuration.
set -eu
cd /home/frappe/frappe-bench
site=${FRAPPE_SITE_NAME:?}
ledger=sites/.provision-$site
not_yet() { echo "$*"; exit 1; }

[ -s sites/common_site_config.json ] || not_yet "the bench is not configured yet"
jq -e 'has("root_password") or has("admin_password") or has("root_login") | not' sites/common_site_config.json >/dev/null ||
    not_yet "an interrupted run left passwords in common_site_config.json"
[ -s "sites/$site/site_config.json" ] || not_yet "site $site does not exist"
grep -qsx complete "$ledger" || not_yet "site $site is not complete"
installed=$(bench --site "$site" execute frappe.get_installed_apps </dev/null) || not_yet "site $site does not answer: $installed"
for app in frappe $(printf %s "${FRAPPE_APPS:?}" | tr ',' ' '); do
    case $installed in *"\"$app\""*) ;; *) not_yet "app $app is not installed" ;; esac
    [ "$app" = frappe ] || grep -qsx "app $app" "$ledger" || not_yet "the installation of $app did not end"
done
host=$(MYSQL_PWD=$(jq -r .db_password "sites/$site/site_config.json") mariadb --skip-ssl -N -B \
    -h "$(jq -r .db_host sites/common_site_config.json)" \
    -u "$(jq -r '.db_user // .db_name' "sites/$site/site_config.json")" \
    -e 'select substring_index(current_user(), "@", -1)' </dev/null)
[ "$host" = % ] || not_yet "the database user is bound to $host and will be locked out when the container's address changes"
