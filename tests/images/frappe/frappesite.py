"""A site of the Frappe stand-in: its files under sites/, its database, its installed apps.

The effects are real (MariaDB, Redis, files), their amount is not: a few dozen tables instead of a thousand."""

import hashlib
import json
import os
import secrets
import string

import pymysql
import redis

BENCH = "/home/frappe/frappe-bench"
SITES = BENCH + "/sites"
COMMON = SITES + "/common_site_config.json"

TABLES = {
    "frappe": ["DocType", "DocField", "User", "Role", "Has Role", "Module Def", "Singles", "DefaultValue", "File", "Communication", "Error Log",
               "Patch Log", "Installed Application", "Scheduled Job Type", "Version", "Email Queue", "Language", "System Settings Log"],
    "erpnext": ["Company", "Account", "Customer", "Supplier", "Item", "Item Price", "Warehouse", "Sales Order", "Sales Invoice", "Purchase Order",
                "Purchase Invoice", "Stock Entry", "Bin", "GL Entry", "Payment Entry", "Journal Entry", "Lead", "Opportunity", "Quotation", "BOM"],
}


class SiteError(Exception):
    """Something the real bench would end on with a traceback: kind and words are the real ones."""

    def __init__(self, kind, words):
        super().__init__(f"{kind}: {words}")


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True)


def common():
    return read(COMMON) if os.path.exists(COMMON) else {}


def app_version(app):
    with open(f"{BENCH}/apps/{app}/version", encoding="utf-8") as file:
        return file.read().strip()


def apps_of_bench():
    with open(SITES + "/apps.txt", encoding="utf-8") as file:
        return file.read().split()


def fault(step):
    """A test makes a step of a site fail once by a line `SITE STEP` in sites/.standin-fault."""
    path = SITES + "/.standin-fault"
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    if step in lines:
        lines.remove(step)
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        raise SiteError("frappe.exceptions.ValidationError", f"planned fault in {step}")


def connect(user, password, database=None):
    config = common()
    try:
        return pymysql.connect(host=config.get("db_host") or "127.0.0.1", port=int(config.get("db_port") or 3306), user=user, password=password,
                               database=database, autocommit=True, connect_timeout=10, charset="utf8mb4")
    except pymysql.err.OperationalError as error:
        raise SiteError("MySQLdb.OperationalError", str(error.args)) from None


class Site:
    def __init__(self, name):
        self.name, self.dir = name, f"{SITES}/{name}"
        self.config_path = self.dir + "/site_config.json"

    def config(self):
        if not os.path.exists(self.config_path):
            raise SiteError("frappe.exceptions.IncorrectSitePath", f"404 Not Found: {self.name} does not exist")
        return {**common(), **read(self.config_path)}

    def set(self, key, value):
        write(self.config_path, {**read(self.config_path), key: value})

    def connect(self):
        config = self.config()
        return connect(config.get("db_user") or config["db_name"], config["db_password"], config["db_name"])

    def sql(self, statement, values=()):
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()
        except pymysql.err.ProgrammingError as error:
            raise SiteError("MySQLdb.ProgrammingError", str(error.args)) from None
        finally:
            connection.close()

    # -- making it
    def make_files(self, db_name, db_password):
        for sub in ("public/files", "private/files", "private/backups", "locks", "logs"):
            os.makedirs(f"{self.dir}/{sub}", exist_ok=True)
        password = db_password or "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))
        write(self.config_path, {"db_name": db_name, "db_user": db_name, "db_password": password, "db_type": "mariadb"})

    def make_database(self, root_login, root_password, scope, force):
        config = self.config()
        name, password = config["db_name"], config["db_password"]
        root = connect(root_login, root_password)
        with root, root.cursor() as cursor:
            cursor.execute("select substring_index(user(), '@', -1)")
            host = scope or cursor.fetchone()[0]
            cursor.execute("select count(*) from information_schema.schemata where schema_name = %s", (name,))
            if cursor.fetchone()[0] and not force:
                raise SiteError("Exception", f"Database {name} already exists, please drop it manually or pass `--force`.")
            cursor.execute("drop user if exists %s@%s", (name, host))
            cursor.execute(f"drop database if exists `{name}`")
            cursor.execute("create user %s@%s identified by %s", (name, host, password))
            cursor.execute(f"create database `{name}` character set utf8mb4 collate utf8mb4_unicode_ci")
            cursor.execute(f"grant all privileges on `{name}`.* to %s@%s", (name, host))
        fault(f"{self.name} new-site")

    def make_tables(self, app):
        connection = self.connect()
        with connection, connection.cursor() as cursor:
            for table in TABLES.get(app, [app]):
                cursor.execute(f"create table if not exists `tab{table}` (name varchar(140) primary key, creation datetime(6), modified datetime(6), "
                               "parent varchar(140), defkey varchar(140), defvalue longtext, doctype varchar(140), field varchar(140), value longtext)")
            if app == "frappe":
                cursor.execute("create table if not exists `__Auth` (doctype varchar(140), name varchar(255), fieldname varchar(140), password text, "
                               "encrypted tinyint not null default 0, primary key (doctype, name, fieldname))")

    # -- apps
    def installed_apps(self):
        rows = self.sql("select defvalue from `tabDefaultValue` where parent = '__global' and defkey = 'installed_apps'")
        return json.loads(rows[0][0]) if rows else []

    def add_app(self, app):
        apps = self.installed_apps()
        self.sql("replace into `tabDefaultValue` (name, parent, defkey, defvalue) values ('installed_apps', '__global', 'installed_apps', %s)",
                 (json.dumps(apps + [app] if app not in apps else apps),))

    def install_app(self, app, force=False):
        """Gives False if there was nothing to do. The app is listed before its installation ends, as in the real one."""
        if app not in apps_of_bench():
            raise SiteError("ModuleNotFoundError", f"No module named '{app}'")
        if app != "frappe" and app in self.installed_apps() and not force:
            return False
        if app == "frappe":
            self.make_tables(app)
        self.add_app(app)
        fault(f"{self.name} install-app {app}")
        self.make_tables(app)
        self.forget_cache()
        return True

    def migrate(self):
        for key in ("redis_cache", "redis_queue"):
            self.redis(key).ping()
        fault(f"{self.name} migrate")
        for app in self.installed_apps():
            self.make_tables(app)
            self.sql("replace into `tabInstalled Application` (name, value, creation) values (%s, %s, now())", (app, app_version(app)))
        self.sql("replace into `tabPatch Log` (name, creation) values (%s, now())", (f"erpnext.patches.v16.{app_version('erpnext')}",))
        self.forget_cache()

    # -- settings, passwords, cache
    def single(self, doctype, field, value):
        self.sql("delete from `tabSingles` where doctype = %s and field = %s", (doctype, field))
        self.sql("insert into `tabSingles` (name, doctype, field, value) values (%s, %s, %s, %s)", (f"{doctype}-{field}", doctype, field, value))

    def set_admin_password(self, password):
        salt = secrets.token_hex(8)
        digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 29000).hex()
        self.sql("replace into `tabUser` (name, creation) values ('Administrator', now())")
        self.sql("replace into `__Auth` values ('User', 'Administrator', 'password', %s, 0)", (f"$pbkdf2-sha256$29000${salt}${digest}",))

    def login(self, user, password):
        rows = self.sql("select password from `__Auth` where doctype = 'User' and name = %s and fieldname = 'password'", (user,))
        if not rows:
            return False
        _, _, rounds, salt, digest = rows[0][0].split("$")
        return secrets.compare_digest(hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), int(rounds)).hex(), digest)

    def redis(self, key):
        return redis.Redis.from_url(common().get(key) or "redis://127.0.0.1:6379", socket_connect_timeout=5)

    def forget_cache(self):
        try:
            cache = self.redis("redis_cache")
            for key in cache.scan_iter(self.config()["db_name"] + "|*"):
                cache.delete(key)
            cache.set(self.config()["db_name"] + "|installed_apps", json.dumps(self.installed_apps()))
        except redis.RedisError as error:
            print(f"Warning: redis_cache: {error}")
