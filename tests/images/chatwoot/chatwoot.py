"""What the Chatwoot stand-in keeps in PostgreSQL and Redis: schema, users, and the key that leaves the installation to its
first visitor."""

import os
import re

import bcrypt
import psycopg2
import redis

VERSION = "4.17.1"
ONBOARDING = "alfred:CHATWOOT_INSTALLATION_ONBOARDING"
TABLES = ["accounts", "account_users", "users", "inboxes", "contacts", "conversations", "messages", "channel_web_widgets", "channel_whatsapp",
          "installation_configs", "active_storage_blobs", "active_storage_attachments", "agent_bots", "webhooks", "labels", "macros", "portals"]


class RailsError(Exception):
    pass


def check_environment():
    secret = os.environ.get("SECRET_KEY_BASE", "")
    if not secret:
        raise RailsError("ArgumentError: Missing `secret_key_base` for 'production' environment, set this string with `bin/rails credentials:edit`")
    if not secret.isalnum():
        raise RailsError("SECRET_KEY_BASE may hold letters and digits only (the stand-in refuses what the documentation forbids)")
    keys = [f"ACTIVE_RECORD_ENCRYPTION_{k}" for k in ("PRIMARY_KEY", "DETERMINISTIC_KEY", "KEY_DERIVATION_SALT")]
    given = [k for k in keys if os.environ.get(k)]
    if given and len(given) < 3:
        raise RailsError("ActiveRecord::Encryption::Errors::Configuration: missing " + ", ".join(k for k in keys if k not in given))


def database():
    try:
        connection = psycopg2.connect(host=os.environ.get("POSTGRES_HOST", "localhost"), port=os.environ.get("POSTGRES_PORT", "5432"),
                                      user=os.environ.get("POSTGRES_USERNAME", "postgres"), password=os.environ.get("POSTGRES_PASSWORD"),
                                      dbname=os.environ.get("POSTGRES_DATABASE", "chatwoot_production"), connect_timeout=5)
    except psycopg2.OperationalError as error:
        kind = "ActiveRecord::NoDatabaseError" if "does not exist" in str(error) else "ActiveRecord::ConnectionNotEstablished"
        raise RailsError(f"{kind}: {str(error).strip()}") from None
    connection.autocommit = True
    return connection


def sql(statement, values=()):
    connection = database()
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []
    except psycopg2.Error as error:
        raise RailsError(f"ActiveRecord::StatementInvalid: {type(error).__name__}: {str(error).strip()}") from None
    finally:
        connection.close()


def queue():
    return redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), password=os.environ.get("REDIS_PASSWORD") or None,
                                socket_connect_timeout=5)


def prepare():
    """Schema and seed on an empty database, migrations on a filled one."""
    if sql("select 1 from pg_tables where tablename = 'ar_internal_metadata'"):
        print("chatwoot_prepare: migrating")
    else:
        print("chatwoot_prepare: loading the schema")
        for extension in ("pg_stat_statements", "pg_trgm", "pgcrypto", "vector"):
            sql(f"create extension if not exists {extension}")
        for table in TABLES:
            sql(f"create table if not exists {table} (id bigserial primary key, name text, account_id bigint, user_id bigint, email text unique, "
                "encrypted_password text, type text, role int, confirmed_at timestamp, created_at timestamp not null default now())")
        sql("create table if not exists schema_migrations (version text primary key)")
        sql("create table if not exists article_embeddings (id bigserial primary key, term text, embedding vector(1536))")
        queue().set(ONBOARDING, "true")
        # Last, so that an interrupted load is loaded again.
        sql("create table ar_internal_metadata (key text primary key, value text)")
        sql("insert into ar_internal_metadata values ('environment', 'production')")
    sql("insert into schema_migrations values (%s) on conflict do nothing", (VERSION,))


def user_exists(email):
    return bool(sql("select 1 from users where email = %s", (email,)))


def build_account(account_name, user_full_name, email, user_password, super_admin="false", **_):
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise RailsError("CustomExceptions::Account::InvalidEmail: Invalid Email")
    if user_exists(email):
        raise RailsError("CustomExceptions::Account::UserExists: User already exists")
    lacks = [what for pattern, what in ((r"[a-z]", "lowercase letter"), (r"[A-Z]", "uppercase letter"), (r"[0-9]", "number"),
                                        (r"[^A-Za-z0-9]", "special character")) if not re.search(pattern, user_password)]
    if lacks or len(user_password) < 6:
        raise RailsError(f"ActiveRecord::RecordInvalid: Validation failed: Password must contain at least 1 {(lacks or ['more'])[0]}")
    digest = bcrypt.hashpw(user_password.encode(), bcrypt.gensalt(10)).decode()
    account = sql("insert into accounts (name) values (%s) returning id", (account_name,))[0][0]
    user = sql("insert into users (name, email, encrypted_password, type, confirmed_at) values (%s, %s, %s, %s, now()) returning id",
               (user_full_name, email, digest, "SuperAdmin" if super_admin == "true" else None))[0][0]
    sql("insert into account_users (account_id, user_id, role) values (%s, %s, 1)", (account, user))


def sign_in(email, password):
    rows = sql("select encrypted_password from users where email = %s", (email,))
    return bool(rows) and bcrypt.checkpw(password.encode(), rows[0][0].encode())
