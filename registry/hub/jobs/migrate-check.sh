# Was the site migrated by the image that runs now? Without it ERPNext answers 503 or worse after an update.
set -eu
cd /home/frappe/frappe-bench
ledger=sites/.provision-${FRAPPE_SITE_NAME:?}
last=$(grep -s '^version ' "$ledger" | tail -n 1 | cut -d' ' -f2)
[ "$last" = "${ERPNEXT_VERSION:?}" ] || { echo "the site was last migrated by ${last:-an unknown version}, the image is $ERPNEXT_VERSION"; exit 1; }
