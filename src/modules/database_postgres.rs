//! PostgreSQL's side of `database`: what there is, what is due, and how passwords are compared.
//!
//! A password is compared with what the server stores (SCRAM-SHA-256 or md5), not by logging in: the images trust every
//! connection from inside the container, whatever the password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::database::{Due, NOT_YET, REFUSED, Wanted, here};
use crate::plan::{Failure, Secret, quote};

/// A script for inside the container: prints what there is, as JSON.
pub(super) fn look(wanted: &Wanted) -> Secret {
    let name = literal(&wanted.name);
    let user = wanted.user.as_deref().map_or("null".to_owned(), literal);
    let server = format!(
        "select json_build_object('database', (select json_build_object('owner', pg_get_userbyid(datdba), \
         'encoding', pg_encoding_to_char(encoding), 'collation', datcollate) from pg_database where datname = {name}), \
         'role', (select json_build_object('login', rolcanlogin) from pg_roles where rolname = {user}), \
         'super', (select rolsuper from pg_roles where rolname = current_user), \
         'available', (select json_agg(name) from pg_available_extensions));\n\
         select json_build_object('verifier', rolpassword) from pg_authid where rolname = {user} and \
         (select rolsuper from pg_roles where rolname = current_user);\n\
         select json_build_object('own', rolpassword) from pg_authid where rolname = current_user and \
         (select rolsuper from pg_roles where rolname = current_user);"
    );
    let privileges = |privilege: &str| {
        format!(
            "'{privilege}', has_database_privilege((select oid from pg_roles where rolname = {user}), {name}, '{privilege}')"
        )
    };
    let database = format!(
        "select json_build_object('extensions', (select json_agg(extname) from pg_extension), \
         'privileges', json_build_object({}, {}, {}));",
        privileges("CREATE"),
        privileges("CONNECT"),
        privileges("TEMPORARY")
    );
    let admin = quote(&wanted.admin);
    Secret::new(format!(
        "{}pg_isready -q -h 127.0.0.1 -d postgres -U {admin} || exit {NOT_YET}\n{}sql postgres {}sql {} 2>/dev/null {}exit 0\n",
        connect(wanted),
        fall_back(wanted),
        here(&server, &format!("|| exit {REFUSED}")),
        quote(&wanted.name),
        // there may be no such database yet
        here(&database, "|| :"),
    ))
}

/// A script for inside the container.
pub(super) fn carry_out(wanted: &Wanted, due: &Due) -> Secret {
    // statements with passwords must not come into the server's log, not even when they fail
    let quiet = "set client_min_messages = error;\n\
        select set_config('log_statement', 'none', false), set_config('log_min_duration_statement', '-1', false), \
        set_config('log_min_error_statement', 'panic', false) \
        where (select rolsuper from pg_roles where rolname = current_user);\n";
    let part = |database: &str, statements: &[Secret]| {
        let sql: String = statements.iter().map(|sql| format!("{};\n", sql.reveal())).collect();
        match statements {
            [] => String::new(),
            _ => format!("sql {} {}", quote(database), here(&format!("{quiet}{sql}"), ">/dev/null || exit 1")),
        }
    };
    let (server, database) = (part("postgres", &due.server), part(&wanted.name, &due.database));
    // the administrator's password may be another one after the first part
    Secret::new(format!("{}{}{server}{}{database}", connect(wanted), fall_back(wanted), fall_back(wanted)))
}

/// Takes the administrator's old password if the new one is not in force yet.
fn fall_back(wanted: &Wanted) -> String {
    let (Some(new), Some(before)) = (&wanted.admin_password, &wanted.admin_password_before) else {
        return String::new();
    };
    format!(
        "PGPASSWORD={}\nsql postgres </dev/null >/dev/null 2>&1 || PGPASSWORD={}\n",
        quote(new.reveal()),
        quote(before.reveal())
    )
}

fn connect(wanted: &Wanted) -> String {
    let password = wanted
        .admin_password
        .as_ref()
        .map_or(String::new(), |password| format!("PGPASSWORD={}\nexport PGPASSWORD\n", quote(password.reveal())));
    format!(
        "PGCONNECT_TIMEOUT=10\nLC_ALL=C.UTF-8\nPGCLIENTENCODING=UTF8\nexport PGCONNECT_TIMEOUT LC_ALL PGCLIENTENCODING\n{password}\
         sql() {{ psql -X -q -A -t -w -v ON_ERROR_STOP=1 -h 127.0.0.1 -U {} -d \"$1\"; }}\n",
        quote(&wanted.admin)
    )
}

#[derive(Deserialize)]
struct Server {
    database: Option<Database>,
    role: Option<Role>,
    #[serde(rename = "super")]
    superuser: bool,
    available: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Database {
    owner: String,
    encoding: String,
    collation: String,
}

#[derive(Deserialize)]
struct Role {
    login: bool,
}

#[derive(Deserialize)]
struct Verifier {
    verifier: Option<String>,
}

#[derive(Deserialize)]
struct Own {
    own: Option<String>,
}

#[derive(Deserialize)]
struct Inside {
    extensions: Option<Vec<String>>,
    privileges: std::collections::HashMap<String, Option<bool>>,
}

/// What is still due, from the answer to [`look`].
pub(super) fn due(wanted: &Wanted, answer: &str, again: bool) -> Result<Due, Failure> {
    let wrong =
        |error: serde_json::Error| Failure::new(format!("PostgreSQL's answer is not what was expected ({error})"));
    let mut lines = answer.lines().filter(|line| line.starts_with('{'));
    let server: Server = serde_json::from_str(lines.next().unwrap_or_default()).map_err(wrong)?;
    let (mut verifier, mut own, mut inside) = (None, None, None);
    for line in lines {
        if line.starts_with("{\"own\"") {
            own = serde_json::from_str::<Own>(line).map_err(wrong)?.own;
        } else if line.contains("\"verifier\"") {
            verifier = serde_json::from_str::<Verifier>(line).map_err(wrong)?.verifier;
        } else {
            inside = Some(serde_json::from_str::<Inside>(line).map_err(wrong)?);
        }
    }

    let mut due = Due::default();
    let name = identifier(&wanted.name);
    if let Some(user) = &wanted.user {
        let password = wanted.password.as_ref();
        let set = password.map_or(String::new(), |password| format!(" password {}", literal(password.reveal())));
        match &server.role {
            None => due.server(format!("create role {user}"), format!("create role {} login{set}", identifier(user))),
            Some(role) => {
                if !role.login {
                    due.server(format!("let role {user} log in"), format!("alter role {} login", identifier(user)));
                }
                // only a superuser sees what is stored; a text that the server normalises may never compare equal
                let compares = server.superuser && !again;
                let fits = |password: &Secret| verifier.as_deref().is_some_and(|stored| fits(stored, password, user));
                if password.is_some_and(|password| compares && !fits(password)) {
                    due.server(format!("set the password of {user}"), format!("alter role {}{set}", identifier(user)));
                }
            }
        }
    }
    match &server.database {
        None => {
            let mut sql = format!("create database {name}");
            if let Some(user) = &wanted.user {
                sql += &format!(" owner {}", identifier(user));
            }
            if wanted.encoding.is_some() || wanted.collation.is_some() {
                sql += " template template0";
            }
            if let Some(encoding) = &wanted.encoding {
                sql += &format!(" encoding {}", literal(encoding));
            }
            if let Some(collation) = &wanted.collation {
                sql += &format!(" lc_collate {0} lc_ctype {0}", literal(collation));
            }
            due.server(format!("create database {}", wanted.name), sql);
        }
        Some(database) => {
            for (what, wanted_one, is) in [
                ("encoding", &wanted.encoding, &database.encoding),
                ("collation", &wanted.collation, &database.collation),
            ] {
                let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
                if let Some(other) = wanted_one.as_ref().filter(|other| plain(other) != plain(is)) {
                    let text = format!("database {} has the {what} {is}, not {other}", wanted.name);
                    return Err(Failure::new(text).hint("it cannot be changed in place: dump, create anew, restore"));
                }
            }
            if let Some(user) = wanted.user.as_ref().filter(|user| **user != database.owner) {
                let line = format!("give database {} to {user} (was {})", wanted.name, database.owner);
                due.server(line, format!("alter database {name} owner to {}", identifier(user)));
            }
        }
    }
    if let Some(user) = &wanted.user {
        let all = ["CREATE", "CONNECT", "TEMPORARY"].map(str::to_owned).to_vec();
        let grants = if wanted.grants.iter().any(|grant| grant.starts_with("ALL")) { &all } else { &wanted.grants };
        let has = |grant: &str| inside.as_ref().and_then(|inside| inside.privileges.get(grant).copied().flatten());
        for grant in grants.iter().filter(|grant| has(grant) != Some(true)) {
            if !all.contains(grant) {
                return Err(Failure::new(format!("`{grant}` is no privilege on a database"))
                    .hint("CREATE, CONNECT, TEMPORARY or ALL"));
            }
            // whoever gets the database with this change has them all
            if server.database.as_ref().is_some_and(|database| database.owner == *user) {
                due.server(
                    format!("grant {grant} to {user}"),
                    format!("grant {grant} on database {name} to {}", identifier(user)),
                );
            }
        }
    }
    // last: from here on the old password opens nothing
    if let (Some(_), Some(password)) = (&wanted.admin_password_before, &wanted.admin_password) {
        let admin = &wanted.admin;
        if !again && !own.as_deref().is_some_and(|stored| fits(stored, password, admin)) {
            let sql = format!("alter role {} password {}", identifier(admin), literal(password.reveal()));
            due.server(format!("set the password of the administrator {admin}"), sql);
        }
    }
    for extension in &wanted.extensions {
        let there = inside.as_ref().and_then(|inside| inside.extensions.as_ref());
        if there.is_some_and(|there| there.contains(extension)) {
            continue;
        }
        if !server.available.as_ref().is_some_and(|available| available.contains(extension)) {
            return Err(Failure::new(format!("the server's image does not have the extension `{extension}`"))
                .hint("for `vector` take `pgvector/pgvector` with the same major version"));
        }
        let sql = format!("create extension if not exists {} cascade", identifier(extension));
        due.database(format!("create extension {extension}"), sql);
    }
    Ok(due)
}

/// A string constant, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

pub(super) fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Whether this is the password behind what the server stores.
fn fits(stored: &str, password: &Secret, user: &str) -> bool {
    if let Some(digest) = stored.strip_prefix("md5") {
        let own: String =
            Md5::digest(format!("{}{user}", password.reveal())).iter().map(|byte| format!("{byte:02x}")).collect();
        return own == digest;
    }
    // SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>
    let parts = || {
        let (count, rest) = stored.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored_key, _) = keys.split_once(':')?;
        Some((count.parse::<u32>().ok()?, STANDARD.decode(salt).ok()?, STANDARD.decode(stored_key).ok()?))
    };
    let Some((count, salt, stored_key)) = parts() else { return false };
    let salted = pbkdf2(password.reveal().as_bytes(), &salt, count);
    Sha256::digest(hmac(&salted, b"Client Key")).as_slice() == stored_key
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    match key.len() > block.len() {
        true => block[..32].copy_from_slice(&Sha256::digest(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let with = |byte: u8, rest: &[u8]| {
        let mut digest = Sha256::new();
        digest.update(block.map(|own| own ^ byte));
        digest.update(rest);
        digest.finalize()
    };
    with(0x5c, &with(0x36, message)).into()
}

/// One block of PBKDF2-HMAC-SHA-256.
fn pbkdf2(password: &[u8], salt: &[u8], count: u32) -> [u8; 32] {
    let mut round = hmac(password, &[salt, &[0, 0, 0, 1]].concat());
    let mut sum = round;
    for _ in 1..count {
        round = hmac(password, &round);
        sum.iter_mut().zip(round).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(extensions: &[&str]) -> Wanted {
        Wanted {
            name: "chat".to_owned(),
            user: Some("o'hara".to_owned()),
            password: Some(Secret::new("pencil")),
            admin: "postgres".to_owned(),
            admin_password: Some(Secret::new("it's $5")),
            admin_password_before: None,
            extensions: extensions.iter().map(|text| (*text).to_owned()).collect(),
            encoding: None,
            collation: None,
            grants: Vec::new(),
        }
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn a_stored_password_is_recognised() {
        // RFC 7677's example: user `user`, password `pencil`
        let salt = "W22ZaJ0SNY7soEsUEjb6gQ==";
        let salted = pbkdf2(b"pencil", &STANDARD.decode(salt).unwrap(), 4096);
        let key = STANDARD.encode(Sha256::digest(hmac(&salted, b"Client Key")));
        // the proof of that example follows from this key
        assert_eq!(key, "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
        let stored = format!("SCRAM-SHA-256$4096:{salt}${key}:x");
        assert!(fits(&stored, &Secret::new("pencil"), "user"));
        assert!(!fits(&stored, &Secret::new("pencil "), "user"));
        // select 'md5' || md5('pencil' || 'user')
        assert!(fits("md520c46e3762c864548e296b33c3406aa9", &Secret::new("pencil"), "user"));
        assert!(!fits("", &Secret::new("pencil"), "user"));
    }

    #[test]
    fn what_is_due() {
        let available = r#""available":["plpgsql","vector"]"#;
        let none = format!(r#"{{"database":null,"role":null,"super":true,{available}}}"#);
        let there = format!(
            "{}\n{}\n{}",
            format_args!(
                r#"{{"database":{{"owner":"o'hara","encoding":"UTF8","collation":"C"}},"role":{{"login":true}},"super":true,{available}}}"#
            ),
            r#"{"verifier":"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:x"}"#,
            r#"{"extensions":["plpgsql","vector"],"privileges":{"CREATE":true,"CONNECT":true,"TEMPORARY":true}}"#
        );
        let other =
            there.replace("o'hara", "postgres").replace("WG5d", "XG5d").replace(",\"vector\"],\"priv", "],\"priv");
        let table = [
            (&none, vec!["create role o'hara", "create database chat", "create extension vector"]),
            (&there, vec![]),
            (
                &other,
                vec![
                    "set the password of o'hara",
                    "give database chat to o'hara (was postgres)",
                    "create extension vector",
                ],
            ),
        ];
        for (answer, lines) in table {
            let due = due(&wanted(&["vector"]), answer, false).unwrap();
            assert_eq!(due.lines, lines, "{answer}");
            assert!(!format!("{due:?}").contains("pencil"));
        }
        let failure = due(&wanted(&["postgis"]), &none, false).unwrap_err();
        assert!(failure.msg.contains("postgis"));
        assert!(due(&wanted(&[]), "psql: error", false).is_err());
    }
}
