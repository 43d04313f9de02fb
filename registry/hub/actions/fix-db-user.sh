# A database user that was made for one container's address cannot log in once that address has changed. Each user of
# a site gets the right to come from any address of the internal network; nothing is dropped.
set -eu
export MYSQL_PWD="${DB_ROOT_PASSWORD:?}"
sql() { mariadb -N -B -u root -e "$1" </dev/null; }
sql "select user, host from mysql.user where user like '\\_%' and host not in ('%', 'localhost')" |
    while read -r user host; do
        if [ "$(sql "select count(*) from mysql.user where user = '$user' and host = '%'")" = 0 ]; then
            sql "rename user '$user'@'$host' to '$user'@'%'"
            echo "$user: $host -> %"
        else
            echo "$user may already come from anywhere; $host is left as it is"
        fi
    done
