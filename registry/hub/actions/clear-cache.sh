# After changes that Frappe has not noticed: its cache and that of the website.
set -eu
cd /home/frappe/frappe-bench
bench --site "${FRAPPE_SITE_NAME:?}" clear-cache
bench --site "$FRAPPE_SITE_NAME" clear-website-cache
