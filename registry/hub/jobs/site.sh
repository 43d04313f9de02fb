# Creates the site and installs its apps, going on where an interrupted run ended: never a second site, never a second
# database. Passwords go through common_site_config.json (0600, removed at the end), never through an argument list.
#
# The ledger sites/.provision-SITE records what this script did: `started`, `site`, `app NAME`, `complete`, `version V`.
# A half-made site is made anew only if the ledger says that it is ours; otherwise a person has to look.
set -eu
umask 022
cd /home/frappe/frappe-bench
site=${FRAPPE_SITE_NAME:?}
wanted=$(printf %s "${FRAPPE_APPS:?}" | tr ',' ' ')
config=sites/common_site_config.json
ledger=sites/.provision-$site
: "${DB_ROOT_PASSWORD:?}" "${ADMIN_PASSWORD:?}"
say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
noted() { grep -qsx -e "$1" "$ledger"; }
note() { noted "$1" || printf '%s\n' "$1" >>"$ledger"; }

# --- the bench is configured and its database answers
tries=0
until jq -e '.db_host and .redis_cache and .redis_queue' "$config" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -le 120 ] || fail "the configurator has not written db_host, redis_cache and redis_queue to $config"
    sleep 1
done
db_host=$(jq -r .db_host "$config")
db_port=$(jq -r '.db_port // 3306' "$config")
wait-for-it -q -t 120 "$db_host:$db_port" || fail "the database $db_host:$db_port does not answer"
as_root() { MYSQL_PWD=$DB_ROOT_PASSWORD mariadb --skip-ssl -N -B -h "$db_host" -P "$db_port" -u root -e "$1" </dev/null; }
as_root 'select 1' >/dev/null || fail "the database refuses DB_ROOT_PASSWORD (it was set when data/mariadb was first filled)"

# --- passwords, in a file only we can read, for as long as this script runs
rewrite() { # jq filter
    new=$(umask 077; mktemp sites/.common_site_config.XXXXXX)
    jq "$1" "$config" >"$new" && { [ "${2-}" = private ] || chmod 644 "$new"; } && mv -f "$new" "$config"
}
forget() { rewrite 'del(.root_login, .root_password, .admin_password)' || rm -f sites/.common_site_config.??????; }
trap forget EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
rewrite '.root_login = "root" | .root_password = env.DB_ROOT_PASSWORD | .admin_password = env.ADMIN_PASSWORD' private

apps_of_site() { bench --site "$site" execute frappe.get_installed_apps </dev/null 2>/dev/null || true; }
has() { case $(apps_of_site) in *"\"$1\""*) return 0 ;; *) return 1 ;; esac; }

# --- the site
make_site() {
    # Without the scope the database user is bound to this container's present address.
    if bench new-site --help </dev/null | grep -q -e --mariadb-user-host-login-scope; then
        scope=--mariadb-user-host-login-scope=%
    else
        scope=--no-mariadb-socket
    fi
    note started
    bench new-site "$site" --db-name "$database" "$scope" "$@" </dev/null
    note site
}
# A site made by hand may have a database user that only one address may use; no bench command works from any other.
free_user() {
    user=$(jq -r '.db_user // .db_name' "sites/$site/site_config.json")
    case $user in *[!a-zA-Z0-9_]*) fail "unexpected name of a database user in site_config.json" ;; esac
    for host in $(as_root "select host from mysql.user where user = '$user' and host <> '%'"); do
        case $host in *[!a-zA-Z0-9_.:-]*) fail "unexpected host of the database user: $host" ;; esac
        if [ "$(as_root "select count(*) from mysql.user where user = '$user' and host = '%'")" = 0 ]; then
            say "the database user was bound to $host: opening it to every container of the network"
            as_root "rename user '$user'@'$host' to '$user'@'%'"
        fi
    done
}
database=_$(printf %s "$site" | sha1sum | cut -c1-16)
if [ ! -e "sites/$site" ]; then
    [ "$(as_root "select count(*) from information_schema.schemata where schema_name = '$database'")" = 0 ] ||
        fail "the database $database of site $site exists, but sites/$site does not: restore data/sites, or drop the database"
    rm -f "$ledger"
    say "creating site $site"
    make_site
    free_user
elif noted started && ! noted site; then
    say "site $site is half made by an interrupted run: making it anew"
    make_site --force
    free_user
elif [ -s "sites/$site/site_config.json" ] && free_user && has frappe; then
    note site
else
    fail "sites/$site exists but holds no working site, and it was not this tool that began it: look at it, then remove it (or restore it) and run again"
fi

# --- its apps
for app in $wanted; do
    if has "$app"; then
        # Listed and noted: done. Listed, begun by us and never noted: its installation failed midway.
        if noted "app $app"; then continue; fi
        if noted "begin $app"; then
            say "the installation of $app did not end: repeating it"
            bench --site "$site" install-app --force "$app" </dev/null
        fi
    else
        say "installing $app"
        note "begin $app"
        bench --site "$site" install-app "$app" </dev/null
    fi
    note "app $app"
done

# --- settings that a site is born with
if ! noted complete; then
    if [ -n "${FRAPPE_TIMEZONE-}" ]; then
        bench --site "$site" execute frappe.db.set_single_value \
            --args "['System Settings', 'time_zone', '$FRAPPE_TIMEZONE']" </dev/null
    fi
    note "version ${ERPNEXT_VERSION:-unknown}"
    note complete
fi
say "site $site is complete"
