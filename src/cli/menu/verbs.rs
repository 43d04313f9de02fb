//! What can be done with a slice of the matrix: every verb that takes `--host`, as clap knows them, so that a new verb
//! is in the menu as soon as it is in the program.

use clap::{Arg, ArgAction, Command};

use super::Slice;
use crate::cli::common::FleetFlags;
use crate::cli::screen::form::{Field, Filled, Form};
use crate::cli::screen::{self, Said};
use crate::error::Result;

/// One line of the menu, and the command that it stands for.
pub struct Action {
    pub heading: &'static str,
    pub name: String,
    pub aliases: Vec<String>,
    pub title: String,
    pub words: Vec<String>,
    /// Asked before it runs: what the verb insists on besides the slice.
    missing: Vec<Missing>,
}

struct Missing {
    name: String,
    prompt: String,
    /// `--to`; none: a word of its own.
    flag: Option<String>,
    choices: Vec<String>,
}

/// What a verb is in the users' language. One that is not listed shows its alias instead.
const TITLES: &[(&str, &str)] = &[
    ("backup", "Hacer una copia de seguridad"),
    ("check", "Comprobar desde el servidor"),
    ("clean", "Borrar el servicio y sus datos"),
    ("configure", "Ver y cambiar los ajustes"),
    ("credentials", "Ver direcciones, usuarios y contraseñas"),
    ("diagnose", "Diagnosticar"),
    ("doctor", "Buscar problemas conocidos y su arreglo"),
    ("down", "Parar"),
    ("exec", "Ejecutar una orden en un contenedor"),
    ("logs", "Ver los registros"),
    ("regen", "Recrear los contenedores"),
    ("restart", "Reiniciar"),
    ("restore", "Restaurar una copia de seguridad"),
    ("rollback", "Volver a la versión anterior"),
    ("scale", "Cambiar el número de réplicas"),
    ("shell", "Abrir una consola en un contenedor"),
    ("status", "Estado: qué hay instalado y cómo está"),
    ("tunnel", "Abrir un túnel hasta un puerto"),
    ("uninstall", "Desinstalar"),
    ("up", "Arrancar"),
    ("update", "Actualizar a la versión del registro"),
    ("verify", "Verificar"),
    ("watch", "Vigilar"),
];

/// Of the actions on a whole fleet or a single setting, these are no verbs of a slice.
const NOT_HERE: &[&str] = &["explain", "inventory", "registry", "secrets", "run", "lab", "menu", "help"];

/// Everything that can be done with the slice.
pub fn actions(command: &Command, flags: &FleetFlags, slice: &Slice) -> Vec<Action> {
    let all = |arguments: &Command| slice.pattern == "all" && has(arguments, "all");
    let words = |verb: Option<&Command>| {
        let arguments = verb.unwrap_or(command);
        let mut words = vec!["provision".to_owned()];
        words.extend(verb.map(|verb| verb.get_name().to_owned()));
        match all(arguments) {
            true => words.push("--all".to_owned()),
            false => words.extend(["--host".to_owned(), slice.pattern.clone()]),
        }
        if let Some(services) = slice.services.as_ref().filter(|_| has(arguments, "services")) {
            words.extend(["--services".to_owned(), services.join(",")]);
        }
        words.extend(fleet_words(flags));
        words
    };
    let rollout = |name: &str, title: &str, more: &[&str]| Action {
        heading: "Instalar",
        name: name.to_owned(),
        aliases: Vec::new(),
        title: title.to_owned(),
        words: words(None).into_iter().chain(more.iter().map(|word| (*word).to_owned())).collect(),
        missing: Vec::new(),
    };
    let mut actions = vec![
        rollout("instalar", "Instalar, o llevar a lo declarado", &[]),
        rollout("simular", "Decir qué cambiaría, sin tocar nada", &["--check", "--diff"]),
    ];
    let verbs = command.get_subcommands().filter(|verb| has(verb, "host") && !NOT_HERE.contains(&verb.get_name()));
    for verb in verbs {
        let name = verb.get_name().to_owned();
        let aliases: Vec<String> = verb.get_visible_aliases().map(str::to_owned).collect();
        let title = TITLES.iter().find(|(known, _)| *known == name).map(|(_, title)| (*title).to_owned());
        let title = title.or_else(|| aliases.first().cloned()).unwrap_or_default();
        let missing = verb.get_arguments().filter(|arg| arg.is_required_set() && arg.get_id() != "host");
        actions.push(Action {
            heading: "Operar",
            title,
            words: words(Some(verb)),
            missing: missing.map(missing_one).collect(),
            name,
            aliases,
        });
    }
    actions
}

fn has(command: &Command, long: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(long))
}

fn missing_one(arg: &Arg) -> Missing {
    let choices = match arg.get_action() {
        ArgAction::Set | ArgAction::Append => {
            arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect()
        }
        _ => Vec::new(),
    };
    Missing {
        name: arg.get_id().to_string(),
        prompt: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        flag: arg.get_long().map(|long| format!("--{long}")),
        choices,
    }
}

/// The flags that led to this fleet, where they are not what they are anyway.
fn fleet_words(flags: &FleetFlags) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    let list: Vec<String> = flags.inventory.iter().map(|path| path.display().to_string()).collect();
    let list = list.join(",");
    if list != "inventory" && std::env::var("PROVISION_INVENTORY").ok().as_ref() != Some(&list) {
        say("-i", list);
    }
    for file in &flags.identity {
        say("--identity", file.display().to_string());
    }
    for folder in &flags.registry {
        say("--registry", folder.display().to_string());
    }
    for vars in &flags.extra_vars {
        say("-e", vars.clone());
    }
    let runs = flags.runs_dir.display().to_string();
    if runs != "runs" && std::env::var("PROVISION_RUNS").ok().as_ref() != Some(&runs) {
        say("--runs-dir", runs);
    }
    words
}

impl Action {
    /// The whole command line, asking for what is missing; none if that was given up.
    pub fn complete(&self) -> Result<Said<Option<Vec<String>>>> {
        if self.missing.is_empty() {
            return Ok(Said::Answer(Some(self.words.clone())));
        }
        let fields = self.missing.iter().map(|missing| Field {
            group: self.title.clone(),
            name: missing.name.clone(),
            prompt: missing.prompt.clone(),
            value: missing.choices.first().cloned().unwrap_or_default(),
            hidden: false,
            required: true,
            choices: missing.choices.clone(),
            asked: true,
            check: Box::new(|value| shlex::split(value).map(drop).ok_or_else(|| "falta cerrar una comilla".to_owned())),
            look: None,
        });
        let mut form = Form::new(self.name.clone(), fields.collect());
        Ok(match screen::talk(&mut form)? {
            Said::Interrupted => Said::Interrupted,
            Said::Answer(Filled::GivenUp) => Said::Answer(None),
            Said::Answer(Filled::Confirmed) => {
                let mut words = self.words.clone();
                for (missing, field) in self.missing.iter().zip(&form.fields) {
                    match &missing.flag {
                        Some(flag) => words.extend([flag.clone(), field.value.clone()]),
                        // a command for a container has words of its own
                        None => words.extend(shlex::split(&field.value).unwrap_or_default()),
                    }
                }
                Said::Answer(Some(words))
            }
        })
    }
}
