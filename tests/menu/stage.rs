//! A project whose clients are this machine: what is installed is a note in a folder, so that a whole rollout takes no
//! time and needs nothing. Everything else is the program's own: catalogue, settings, secrets, plays, journal.

use std::process::Command;

use crate::project::Project;

const STATUS: &str = r#"- name: What is noted
  hosts: all
  gather_facts: false
  tasks:
    - name: Notes
      shell: for note in FOLDER/{{ inventory_hostname }}/*.json; do [ ! -f "$note" ] || { printf '@record '; cat "$note"; }; done
      check_mode: false
      changed_when: false
"#;

const ROLLOUT: &str = r#"- name: Services
  hosts: all
  gather_facts: false
  tasks:
    - name: Services
      include_services:
        services: "{{ services | default([]) }}"
        tasks: services/note.yml
"#;

const NOTE: &str = r#"- name: Folder of notes
  file: {path: "FOLDER/{{ inventory_hostname }}", state: directory}
- name: Note it
  copy:
    dest: "FOLDER/{{ inventory_hostname }}/{{ service.id }}.json"
    content: "{{ service.record | to_json }}\n"
"#;

/// Has one of every kind of setting.
const STORE: &str = r#"{
  "id": "store",
  "name": "Tienda en línea",
  "category": "Tiendas",
  "description": "Vende cosas; necesita la base de datos.",
  "version": "2.1",
  "extends": null,
  "aliases": ["tienda"],
  "requirements": {"cpu": 2, "ram_mb": 4096},
  "dependencies": [{"service": "shop", "required": true}],
  "network": {"use_custom": true, "prompt_if_missing": "Ingrese el nombre de la red Docker (default: orion_net)"},
  "variables": [
    {"key": "STORE_DOMAIN", "prompt": "Ingrese el dominio de la tienda (ej: tienda.midominio.com)", "required": true, "validation": "domain"},
    {"key": "STORE_EMAIL", "prompt": "Email del administrador", "required": true, "validation": "email"},
    {"key": "STORE_LEVEL", "prompt": "Nivel de registro", "required": true, "validation": {"enum": ["INFO", "DEBUG"]}},
    {"key": "STORE_ZONE", "prompt": "Zona horaria", "required": false, "validation": "timezone", "default": "UTC"},
    {"key": "STORE_API_KEY", "prompt": "Clave de la API de pagos", "required": true, "secret": true}
  ],
  "secrets": [{"key": "STORE_PASSWORD", "length": 20, "type": "password"}]
}
"#;

const STACK: &str = "services:\n  web:\n    image: example/store:{{ version }}\n    healthcheck: {test: [\"CMD\", \"true\"]}\n    environment: {KEY: \"${STORE_API_KEY}\", DOMAIN: \"${STORE_DOMAIN}\"}\n";

/// The project of the tests with a second package, a broken one, and clients that can be reached.
pub fn project() -> Project {
    let project = Project::with_key();
    let folder = project.path("notes").display().to_string();
    project.file("playbooks/status.yml", &STATUS.replace("FOLDER", &folder));
    project.file("playbooks/rollout.yml", ROLLOUT);
    project.file("playbooks/services/note.yml", &NOTE.replace("FOLDER", &folder));
    project.file("registry/store/manifest.json", STORE);
    project.file("registry/store/stack.yml.j2", STACK);
    project.file(
        "registry/spoilt/manifest.json",
        "{\"id\": \"spoilt\", \"name\": \"Echado a perder\", \"varsion\": \"1\"}",
    );
    project.file("inventory/group_vars/clients.yml", "# how they are reached\nansible_connection: local\n");
    project
}

pub fn menu(project: &Project) -> Command {
    project.command(&[])
}
