# Brings the site's schema to the version of the image, in maintenance mode. If it fails the site stays in maintenance: a
# half-migrated site must not take orders. A site that somebody had put into maintenance stays in it, too. What it was left
# in is said.
set -eu
cd /home/frappe/frappe-bench
site=${FRAPPE_SITE_NAME:?}
ledger=sites/.provision-$site
# there: it was not a person who closed the site, so the first migration that succeeds opens it
ours=sites/.provision-$site.maintenance
on() { [ "$(jq -r '.maintenance_mode // 0' "sites/$site/site_config.json")" != 0 ]; }

over() {
    rc=$?
    trap - EXIT
    if [ "$rc" = 0 ] && [ -e "$ours" ]; then
        if bench --site "$site" set-maintenance-mode off </dev/null && ! on; then rm -f "$ours"; fi
    fi
    if on; then state="in maintenance mode: nobody can work (bench --site $site set-maintenance-mode off)"; else state="open again"; fi
    if [ "$rc" != 0 ]; then
        printf '%s\n' "the migration of $site to ${ERPNEXT_VERSION:?} failed, its schema may be between two versions; the site is $state" \
            "the way back is the backup from before: provision restore; the next deployment tries the migration again" >&2
    else
        printf '%s\n' "$site is migrated to ${ERPNEXT_VERSION:?} and $state"
    fi
    exit "$rc"
}
trap over EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

on || : >"$ours"
bench --site "$site" set-maintenance-mode on </dev/null
bench --site "$site" migrate </dev/null
printf 'version %s\n' "${ERPNEXT_VERSION:?}" >>"$ledger"
