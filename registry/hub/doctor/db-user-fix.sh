MYSQL_PWD=$DB_ROOT_PASSWORD; export MYSQL_PWD
mariadb -N -B -h 127.0.0.1 -u root -e "SELECT CONCAT('RENAME USER ', QUOTE(User), '@', QUOTE(Host), ' TO ', QUOTE(User), '@''%'';') FROM mysql.user WHERE User LIKE '\\_%' AND Host REGEXP '^[0-9]'" |
    mariadb -h 127.0.0.1 -u root
