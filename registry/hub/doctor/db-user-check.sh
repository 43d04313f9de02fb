# Frappe makes the user of a site for the address that its container had; after the next start it has another one.
MYSQL_PWD=$DB_ROOT_PASSWORD; export MYSQL_PWD
bound=$(mariadb -N -B -h 127.0.0.1 -u root -e "SELECT CONCAT(User, '@', Host) FROM mysql.user WHERE User LIKE '\\_%' AND Host REGEXP '^[0-9]'") || exit
[ -z "$bound" ] || { echo "bound to an address:" $bound; exit 1; }
echo "none is bound to an address"
