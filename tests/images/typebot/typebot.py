"""A stand-in for Typebot's builder and viewer. It is not Typebot.

As the real ones: the builder migrates the database as it starts and serves even if that failed; the viewer does not
migrate; both answer /healthz on :3000 (always 200) and refuse to start with settings that are missing or of the wrong kind."""

import os
import re

import psycopg2
import standin

ROLE = os.environ["TYPEBOT_ROLE"]
MIGRATIONS = {
    "20220101000000_init": 'create table "User" (id text primary key, email text unique); '
                           'create table "Workspace" (id text primary key, name text); '
                           'create table "Typebot" (id text primary key, "publicId" text unique, name text)',
    "20260101000000_results": 'create table "Result" (id text primary key, "typebotId" text references "Typebot"(id))',
}


def database():
    connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=5)
    connection.autocommit = True
    return connection


def migrate():
    with database().cursor() as cursor:
        cursor.execute("create table if not exists _prisma_migrations (migration_name text primary key, finished_at timestamptz)")
        for name, statements in MIGRATIONS.items():
            cursor.execute("select 1 from _prisma_migrations where migration_name = %s", (name,))
            if not cursor.fetchone():
                cursor.execute(statements)
                cursor.execute("insert into _prisma_migrations values (%s, now())", (name,))
                standin.log("applied migration", name)


def answer(request):
    if request.path in ("/healthz", "/api/healthz"):
        return 200, {"status": "ok"}
    if ROLE == "builder":
        return (302, "", {"Location": "/signin"}) if request.path == "/" else (200, "<html>Typebot stand-in</html>")
    with database().cursor() as cursor:
        cursor.execute('select name from "Typebot" where "publicId" = %s', (request.path.strip("/"),))
        found = cursor.fetchone()
    return (200, f"<html>{found[0]}</html>") if found else (404, "<html>Typebot not found</html>")


secret, _, builder, viewer = standin.need("ENCRYPTION_SECRET", "DATABASE_URL", "NEXTAUTH_URL", "NEXT_PUBLIC_VIEWER_URL")
if len(secret) != 32:
    standin.die("Invalid environment variables: ENCRYPTION_SECRET must contain exactly 32 characters")
for url in (builder, viewer):
    if not re.fullmatch(r"https?://[^/]+", url):
        standin.die("Invalid environment variables: NEXTAUTH_URL and NEXT_PUBLIC_VIEWER_URL are URLs without a path")
if ROLE == "builder":
    try:
        migrate()
    except psycopg2.Error as error:
        standin.log("prisma migrate deploy:", str(error).strip())
standin.serve(3000, answer, f"typebot-{ROLE}-stand-in")
