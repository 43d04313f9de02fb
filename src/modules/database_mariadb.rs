//! MariaDB's and MySQL's side of `database`: what there is and what is due.
//!
//! Users are made for every host (`%`): an account bound to one container's address stops working when the container is
//! made anew and gets another one.

use std::collections::HashSet;

use serde::Deserialize;

use super::database::{Due, NOT_YET, REFUSED, Wanted, here};
use crate::plan::{Failure, Secret, quote};

/// What `ALL PRIVILEGES` on a database means at least, in every version.
const ALL: [&str; 18] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "REFERENCES",
    "INDEX",
    "ALTER",
    "CREATE TEMPORARY TABLES",
    "LOCK TABLES",
    "EXECUTE",
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "EVENT",
    "TRIGGER",
];

/// A script for inside the container: prints what there is, as JSON, and whether the user can log in.
pub(super) fn look(wanted: &Wanted) -> Secret {
    let name = literal(&wanted.name);
    let user = wanted.user.as_deref().unwrap_or_default();
    // an account without a password (socket, locked) has none to change
    let accounts = format!(
        "(select group_concat(distinct host) from mysql.user where user = {} and authentication_string not in ('', 'invalid'))",
        literal(&wanted.admin)
    );
    let schemata =
        |column: &str| format!("(select {column} from information_schema.schemata where schema_name = {name})");
    let sql = format!(
        "set session sql_mode = '';\n\
         select json_object('encoding', {}, 'collation', {}, \
         'user', (select count(*) from mysql.user where user = {} and host = '%'), 'admin_hosts', {accounts}, \
         'privileges', (select group_concat(privilege_type) from information_schema.schema_privileges \
         where grantee = {} and table_schema in ({name}, {})));",
        schemata("default_character_set_name"),
        schemata("default_collation_name"),
        literal(user),
        literal(&format!("'{user}'@'%'")),
        literal(&pattern(&wanted.name)),
    );
    let login = wanted.password.as_ref().map_or(String::new(), |password| {
        let set = format!("MYSQL_PWD={}; export MYSQL_PWD", quote(password.reveal()));
        let ask = format!("sql {} -e 'select 1' </dev/null >/dev/null 2>&1", quote(user));
        format!("if ({set}; {ask}); then echo login; fi\n")
    });
    let admin = quote(&wanted.admin);
    Secret::new(format!(
        "{}try\ncase $? in 0) ;; {REFUSED}) exit {REFUSED} ;; *) exit {NOT_YET} ;; esac\n\
         [ -z \"$before\" ] || echo before\nsql {admin} {}h=127.0.0.1\n{login}exit 0\n",
        connect(wanted),
        here(&sql, "|| exit 1"),
    ))
}

/// A script for inside the container.
pub(super) fn carry_out(wanted: &Wanted, due: &Due) -> Secret {
    let statements = due.server.iter().chain(&due.database);
    let sql: String = statements.map(|sql| format!("{};\n", sql.reveal())).collect();
    let document = here(&format!("set session sql_mode = '';\n{sql}"), "|| exit 1");
    Secret::new(format!("{}try || exit\nsql {} {document}", connect(wanted), quote(&wanted.admin)))
}

/// Defines `sql USER ARGUMENTS…` and `try`. The latter connects over TCP, which a server does not offer before it is set
/// up; an administrator who may come from `localhost` only is then tried on the socket.
fn connect(wanted: &Wanted) -> String {
    let password = wanted
        .admin_password
        .as_ref()
        .map_or(String::new(), |password| format!("MYSQL_PWD={}\nexport MYSQL_PWD\n", quote(password.reveal())));
    format!(
        "m=$(command -v mariadb || command -v mysql) || exit 127\n{password}h=127.0.0.1\nbefore=\n\
         sql() {{ u=$1; shift; \"$m\" --no-defaults -N -B --raw --default-character-set=utf8mb4 --connect-timeout=10 -h $h -u \"$u\" \"$@\"; }}\n\
         try_one() {{ for h in 127.0.0.1 localhost; do e=$(sql {} -e 'select 1' </dev/null 2>&1 >/dev/null) && return\n\
         case $e in *'ERROR 1045'*|*'ERROR 1698'*|*'ERROR 1130'*) ;; *) printf '%s\\n' \"$e\" >&2; return 1 ;; esac; done\n\
         printf '%s\\n' \"$e\" >&2; return {REFUSED}; }}\n\
         try() {{ {} }}\n",
        quote(&wanted.admin),
        match &wanted.admin_password_before {
            None => "try_one;".to_owned(),
            Some(before) => {
                let (before, refused) = (quote(before.reveal()), format!("[ $? = {REFUSED} ]"));
                format!(
                    "try_one 2>/dev/null && return; {refused} || {{ try_one; return; }}; MYSQL_PWD={before}; before=1; try_one;"
                )
            }
        }
    )
}

#[derive(Deserialize)]
struct Server {
    /// Where the administrator may come from, as `%,localhost`.
    #[serde(default)]
    admin_hosts: Option<String>,
    encoding: Option<String>,
    collation: Option<String>,
    user: u64,
    privileges: Option<String>,
}

/// What is still due, from the answer to [`look`].
pub(super) fn due(wanted: &Wanted, answer: &str) -> Result<Due, Failure> {
    let line = answer.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    let server: Server = serde_json::from_str(line)
        .map_err(|error| Failure::new(format!("the server's answer is not what was expected ({error})")))?;
    let mut due = Due::default();
    let name = identifier(&wanted.name);
    let charset = || {
        let encoding =
            wanted.encoding.as_ref().map_or(String::new(), |text| format!(" character set {}", literal(text)));
        let collation = wanted.collation.as_ref().map_or(String::new(), |text| format!(" collate {}", literal(text)));
        format!("{encoding}{collation}")
    };
    let differs = |wanted: &Option<String>, is: &Option<String>| match (wanted, is) {
        (Some(wanted), Some(is)) => !wanted.eq_ignore_ascii_case(is),
        _ => false,
    };
    if server.encoding.is_none() {
        due.server(format!("create database {}", wanted.name), format!("create database {name}{}", charset()));
    } else if differs(&wanted.encoding, &server.encoding) || differs(&wanted.collation, &server.collation) {
        let line = format!("set the default character set of {} (existing tables keep theirs)", wanted.name);
        due.server(line, format!("alter database {name}{}", charset()));
    }
    if let Some(user) = &wanted.user {
        user_due(wanted, user, &server, answer, &mut due)?;
    }
    // last: from here on the old password opens nothing
    if let (Some(password), true) = (&wanted.admin_password, answer.lines().any(|line| line == "before")) {
        let admin = &wanted.admin;
        let accounts = server.admin_hosts.as_deref().unwrap_or("%").split(',');
        let account =
            |host| format!("{}@{} identified by {}", literal(admin), literal(host), literal(password.reveal()));
        let accounts: Vec<String> = accounts.map(account).collect();
        due.server(
            format!("set the password of the administrator {admin}"),
            format!("alter user {}", accounts.join(", ")),
        );
    }
    Ok(due)
}

fn user_due(wanted: &Wanted, user: &str, server: &Server, answer: &str, due: &mut Due) -> Result<(), Failure> {
    let name = &wanted.name;
    let account = format!("{}@'%'", literal(user));
    let password = wanted.password.as_ref();
    let set = password.map_or(String::new(), |password| format!(" identified by {}", literal(password.reveal())));
    if server.user == 0 {
        due.server(format!("create user {user}"), format!("create user {account}{set}"));
    } else if password.is_some() && !answer.lines().any(|line| line == "login") {
        due.server(format!("set the password of {user}"), format!("alter user {account}{set}"));
    }
    let has: HashSet<&str> = server.privileges.as_deref().unwrap_or_default().split(',').collect();
    let all = wanted.grants.is_empty() || wanted.grants.iter().any(|grant| grant.starts_with("ALL"));
    let pattern = identifier(&pattern(name));
    if all {
        if !ALL.iter().all(|privilege| has.contains(privilege)) {
            let line = format!("grant all privileges on {name} to {user}");
            due.server(line, format!("grant all privileges on {pattern}.* to {account}"));
        }
    } else {
        for grant in wanted.grants.iter().filter(|grant| !has.contains(grant.as_str())) {
            if !grant.chars().all(|c| c.is_ascii_uppercase() || c == ' ') {
                return Err(Failure::new(format!("`{grant}` is no privilege")));
            }
            due.server(format!("grant {grant} to {user}"), format!("grant {grant} on {pattern}.* to {account}"));
        }
    }
    Ok(())
}

/// A string constant, with backslash escapes on.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn identifier(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

/// In a grant `_` and `%` of a database's name are wildcards.
fn pattern(name: &str) -> String {
    name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            name: "my_db".to_owned(),
            user: Some("hub".to_owned()),
            password: Some(Secret::new("it's \\ $5")),
            admin: "root".to_owned(),
            admin_password: Some(Secret::new("hunter2")),
            admin_password_before: None,
            extensions: Vec::new(),
            encoding: Some("utf8mb4".to_owned()),
            collation: Some("utf8mb4_unicode_ci".to_owned()),
            grants: Vec::new(),
        }
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(pattern("my_db"), "my\\_db");
    }

    #[test]
    fn what_is_due() {
        let all = ALL.join(",");
        let there =
            format!(r#"{{"encoding":"utf8mb4","collation":"utf8mb4_unicode_ci","user":1,"privileges":"{all}"}}"#);
        let table = [
            (
                r#"{"encoding":null,"collation":null,"user":0,"privileges":null}"#.to_owned(),
                vec!["create database my_db", "create user hub", "grant all privileges on my_db to hub"],
            ),
            (format!("{there}\nlogin"), vec![]),
            (there.clone(), vec!["set the password of hub"]),
            (
                there.replace("unicode", "general").replace(",EVENT", "") + "\nlogin",
                vec![
                    "set the default character set of my_db (existing tables keep theirs)",
                    "grant all privileges on my_db to hub",
                ],
            ),
        ];
        for (answer, lines) in table {
            let due = due(&wanted(), &answer).unwrap();
            assert_eq!(due.lines, lines, "{answer}");
        }
        let fresh = due(&wanted(), r#"{"encoding":null,"collation":null,"user":0,"privileges":null}"#).unwrap();
        let sql: Vec<&str> = fresh.server.iter().map(Secret::reveal).collect();
        assert_eq!(
            sql,
            [
                "create database `my_db` character set 'utf8mb4' collate 'utf8mb4_unicode_ci'",
                "create user 'hub'@'%' identified by 'it''s \\\\ $5'",
                "grant all privileges on `my\\_db`.* to 'hub'@'%'",
            ]
        );
    }
}
