# Brings the site's schema to the version of the image, in maintenance mode. If it fails the site stays in maintenance: a
# half-migrated site must not take orders. The way back is the backup made before the update.
set -eu
cd /home/frappe/frappe-bench
site=${FRAPPE_SITE_NAME:?}
ledger=sites/.provision-$site
bench --site "$site" set-maintenance-mode on </dev/null
bench --site "$site" migrate </dev/null
bench --site "$site" set-maintenance-mode off </dev/null
printf 'version %s\n' "${ERPNEXT_VERSION:?}" >>"$ledger"
