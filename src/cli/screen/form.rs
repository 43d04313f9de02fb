//! Questions one after the other, then all answers at once: to go back to any of them, to say yes, or to leave with
//! nothing written.

use super::{Face, Input, Line, Size, padded, painted, plain, wrapped};
use crate::report::style::{bold, dim, green, red, yellow};

/// One question.
pub struct Field {
    /// Whose it is, e.g. `clienteA · chat`.
    pub group: String,
    pub name: String,
    /// In the users' language.
    pub prompt: String,
    /// What is known beforehand, and later the answer.
    pub value: String,
    /// Shown as dots.
    pub hidden: bool,
    pub required: bool,
    /// Possible answers, if they are few.
    pub choices: Vec<String>,
    /// Asked in turn; the others wait in the overview.
    pub asked: bool,
    /// What is wrong with an answer, in the users' language.
    pub check: Box<dyn Fn(&str) -> Result<(), String>>,
    /// Something worth knowing about an answer that is no mistake, looked up when it is asked for.
    pub look: Option<Box<dyn Fn(&str) -> String>>,
}

/// A form on the screen.
pub struct Form {
    title: String,
    pub fields: Vec<Field>,
    at: At,
    /// The others are shown in the overview, too.
    all: bool,
    says: String,
    notes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// Position among the fields, and where an answer leads to.
    Question(usize, Then),
    /// Position among the shown ones.
    Overview(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    NextQuestion,
    Overview,
}

/// How a form was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// The fields hold the answers.
    Confirmed,
    GivenUp,
}

impl Form {
    /// Begins with the questions that are asked in turn; without any, with the overview of all.
    pub fn new(title: impl Into<String>, fields: Vec<Field>) -> Form {
        let first = fields.iter().position(|field| field.asked);
        let at = first.map_or(At::Overview(0), |index| At::Question(index, Then::NextQuestion));
        let notes = vec![String::new(); fields.len()];
        Form { title: title.into(), fields, at, all: first.is_none(), says: String::new(), notes }
    }

    fn problem(&self, index: usize) -> Result<(), String> {
        let field = &self.fields[index];
        match (field.value.is_empty(), field.required) {
            (true, true) => Err("hace falta una respuesta".to_owned()),
            (true, false) => Ok(()),
            (false, _) => (field.check)(&field.value),
        }
    }

    /// Fields of the overview.
    fn shown(&self) -> Vec<usize> {
        (0..self.fields.len()).filter(|index| self.all || self.fields[*index].asked).collect()
    }

    fn at_question(&mut self, index: usize, then: Then, input: Input) -> Option<Filled> {
        self.says.clear();
        let field = &mut self.fields[index];
        match input {
            Input::Enter => match (self.problem(index), then) {
                (Err(problem), _) => self.says = problem,
                (Ok(()), Then::Overview) => self.overview_at(index),
                (Ok(()), Then::NextQuestion) => {
                    let next = (index + 1..self.fields.len()).find(|next| self.fields[*next].asked);
                    match next {
                        Some(next) => self.at = At::Question(next, Then::NextQuestion),
                        None => self.at = At::Overview(0),
                    }
                }
            },
            Input::Esc if then == Then::Overview => match self.problem(index) {
                Ok(()) => self.overview_at(index),
                Err(problem) => self.says = problem,
            },
            Input::Esc => match (0..index).rev().find(|before| self.fields[*before].asked) {
                Some(before) => self.at = At::Question(before, Then::NextQuestion),
                None => return Some(Filled::GivenUp),
            },
            Input::Tab | Input::Down => field.turn(1),
            Input::BackTab | Input::Up => field.turn(-1),
            Input::Backspace => drop(field.value.pop()),
            Input::Ctrl('u') => field.value.clear(),
            Input::Char(c) => field.value.push(c),
            // what is copied often ends in a line break
            Input::Paste(text) => field.value.push_str(text.trim_end_matches(['\r', '\n'])),
            _ => {}
        }
        None
    }

    fn overview_at(&mut self, index: usize) {
        self.at = At::Overview(self.shown().iter().position(|shown| *shown == index).unwrap_or(0));
    }

    fn at_overview(&mut self, cursor: usize, input: Input) -> Option<Filled> {
        self.says.clear();
        let shown = self.shown();
        let last = shown.len().saturating_sub(1);
        match input {
            Input::Char('s' | 'S' | 'y') => match shown.iter().find(|index| self.problem(**index).is_err()) {
                Some(index) => {
                    self.says = format!("{}: {}", self.fields[*index].name, self.problem(*index).err()?);
                    self.overview_at(*index);
                }
                None => return Some(Filled::Confirmed),
            },
            Input::Char('n' | 'N' | 'q') | Input::Esc => return Some(Filled::GivenUp),
            Input::Char('o') if self.fields.iter().any(|field| field.asked) => {
                self.all = !self.all;
                self.at = At::Overview(0);
            }
            Input::Char('d') => self.look(&shown),
            Input::Enter => {
                if let Some(index) = shown.get(cursor) {
                    self.at = At::Question(*index, Then::Overview);
                }
            }
            Input::Up | Input::BackTab => self.at = At::Overview(cursor.checked_sub(1).unwrap_or(last)),
            Input::Down | Input::Tab => self.at = At::Overview(if cursor >= last { 0 } else { cursor + 1 }),
            Input::PageUp => self.at = At::Overview(cursor.saturating_sub(10)),
            Input::PageDown => self.at = At::Overview((cursor + 10).min(last)),
            Input::Home => self.at = At::Overview(0),
            Input::End => self.at = At::Overview(last),
            _ => {}
        }
        None
    }

    fn look(&mut self, shown: &[usize]) {
        for index in shown {
            let field = &self.fields[*index];
            if let Some(look) = field.look.as_ref().filter(|_| !field.value.is_empty()) {
                self.notes[*index] = look(&field.value);
            }
        }
    }

    fn question_lines(&self, index: usize, columns: usize) -> Vec<Line> {
        let field = &self.fields[index];
        let asked: Vec<usize> = (0..self.fields.len()).filter(|index| self.fields[*index].asked).collect();
        let step = asked.iter().position(|asked| *asked == index);
        let step = step.map(|step| format!("   paso {}/{}", step + 1, asked.len())).unwrap_or_default();
        let mut lines = vec![
            vec![painted(format!(" {}", self.title), bold), painted(step, dim)],
            Vec::new(),
            vec![plain(format!(" {}  ", field.group)), painted(field.name.clone(), dim)],
        ];
        lines.extend(
            wrapped(&field.prompt, columns.saturating_sub(4))
                .into_iter()
                .map(|line| vec![painted(format!(" {line}"), bold)]),
        );
        lines.push(Vec::new());
        lines.push(vec![plain(" ▸ "), plain(field.shown_value()), painted("▏", bold)]);
        lines.push(Vec::new());
        if !field.choices.is_empty() {
            let mut line = vec![plain("   ")];
            for choice in &field.choices {
                line.push(match *choice == field.value {
                    true => painted(format!("[{choice}] "), bold),
                    false => painted(format!(" {choice}  "), dim),
                });
            }
            lines.push(line);
        }
        lines.push(vec![painted(format!(" {}", self.says), red)]);
        lines
    }

    fn overview_lines(&self, cursor: usize, size: Size) -> Vec<Line> {
        let shown = self.shown();
        let mut lines = vec![vec![painted(format!(" {} — resumen", self.title), bold)], Vec::new()];
        let room = size.rows.saturating_sub(6).max(1);
        let name = shown.iter().map(|index| self.fields[*index].name.chars().count()).max().unwrap_or(0).min(30);
        let mut rows: Vec<(Option<usize>, Line)> = Vec::new();
        for (position, index) in shown.iter().enumerate() {
            let field = &self.fields[*index];
            if position == 0 || self.fields[shown[position - 1]].group != field.group {
                rows.push((None, vec![painted(format!(" {}", field.group), bold)]));
            }
            let here = position == cursor;
            let good = self.problem(*index).is_ok();
            let value = match (field.value.is_empty(), field.hidden) {
                (true, _) => "—".to_owned(),
                (false, _) => field.shown_value(),
            };
            rows.push((
                Some(position),
                vec![
                    plain(if here { " ❯ " } else { "   " }),
                    painted(if good { "✓ " } else { "✗ " }, if good { green } else { red }),
                    painted(format!("{}  ", padded(&field.name, name)), if here { bold } else { dim }),
                    plain(value),
                    painted(format!("   {}", self.notes[*index]), yellow),
                ],
            ));
        }
        let cursor_row = rows.iter().position(|(position, _)| *position == Some(cursor)).unwrap_or(0);
        let from = cursor_row.saturating_sub(room.saturating_sub(1));
        lines.extend(rows.into_iter().skip(from).take(room).map(|(_, line)| line));
        lines
    }
}

impl Field {
    fn shown_value(&self) -> String {
        if self.hidden { "•".repeat(self.value.chars().count()) } else { self.value.clone() }
    }

    /// The next or previous of the possible answers.
    fn turn(&mut self, by: isize) {
        let count = self.choices.len();
        if count == 0 {
            return;
        }
        let next = match self.choices.iter().position(|choice| *choice == self.value) {
            Some(here) => here.saturating_add(count).saturating_add_signed(by) % count,
            None => 0,
        };
        self.value.clone_from(&self.choices[next]);
    }
}

impl Face for Form {
    type Answer = Filled;

    fn view(&self, size: Size) -> Vec<Line> {
        let (mut lines, keys) = match self.at {
            At::Question(index, _) => {
                let turn = if self.fields[index].choices.is_empty() { "" } else { "Tab opciones · " };
                (self.question_lines(index, size.columns), format!("Intro seguir · {turn}^U borrar · Esc volver"))
            }
            At::Overview(cursor) => {
                let mut lines = self.overview_lines(cursor, size);
                lines.push(Vec::new());
                lines.push(match self.says.is_empty() {
                    true => vec![painted(" ¿Son correctas las respuestas?  s = sí, guardar · n = no, dejarlo", bold)],
                    false => vec![painted(format!(" {}", self.says), red)],
                });
                let more = self.fields.iter().filter(|field| !field.asked).count();
                let others = match (self.fields.iter().any(|field| field.asked) && more > 0, self.all) {
                    (false, _) => String::new(),
                    (true, false) => format!(" · o ver {more} más"),
                    (true, true) => " · o ver menos".to_owned(),
                };
                let look = if self.fields.iter().any(|f| f.look.is_some()) { " · d comprobar DNS" } else { "" };
                (lines, format!("↑↓ mover · Intro editar{look}{others} · Esc salir sin guardar"))
            }
        };
        lines.resize(size.rows.saturating_sub(1), Vec::new());
        lines.push(vec![painted(format!(" {keys}"), dim)]);
        lines
    }

    fn input(&mut self, input: Input) -> Option<Filled> {
        match self.at {
            At::Question(index, then) => self.at_question(index, then, input),
            At::Overview(cursor) => self.at_overview(cursor, input),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str, asked: bool) -> Field {
        Field {
            group: "host · service".to_owned(),
            name: name.to_owned(),
            prompt: format!("¿{name}?"),
            value: value.to_owned(),
            hidden: name == "SECRET",
            required: true,
            choices: if name == "LEVEL" { vec!["low".to_owned(), "high".to_owned()] } else { Vec::new() },
            asked,
            check: Box::new(|value| if value.contains(' ') { Err("sin espacios".to_owned()) } else { Ok(()) }),
            look: (name == "SITE").then(|| Box::new(|value: &str| format!("resuelve {value}")) as _),
        }
    }

    fn form() -> Form {
        Form::new("Chat", vec![field("SITE", "", true), field("SECRET", "", true), field("LEVEL", "low", false)])
    }

    fn press(form: &mut Form, keys: &[Input]) -> Option<Filled> {
        keys.iter().find_map(|key| form.input(key.clone()))
    }

    fn text(form: &Form) -> String {
        let lines = form.view(Size { columns: 80, rows: 20 });
        lines.iter().map(|line| line.iter().map(|span| span.text.as_str()).collect::<String>() + "\n").collect()
    }

    const ENTER: Input = Input::Enter;

    fn type_in(form: &mut Form, text: &str) {
        assert_eq!(press(form, &text.chars().map(Input::Char).collect::<Vec<_>>()), None);
    }

    #[test]
    fn questions_overview_editing_and_yes() {
        let mut form = form();
        assert!(text(&form).contains("paso 1/2"));
        assert_eq!(press(&mut form, &[ENTER]), None);
        assert!(text(&form).contains("hace falta"));
        type_in(&mut form, "a b");
        press(&mut form, &[ENTER]);
        assert!(text(&form).contains("sin espacios"));
        press(&mut form, &[Input::Ctrl('u'), Input::Paste("a.example\n".to_owned()), ENTER]);
        type_in(&mut form, "hunter2");
        assert!(!text(&form).contains("hunter2"), "a secret is not shown while it is typed");
        press(&mut form, &[ENTER]);
        let overview = text(&form);
        assert!(overview.contains("a.example") && !overview.contains("hunter2") && !overview.contains("LEVEL"));
        // back to the first answer, the others appear, and one of them is turned
        press(&mut form, &[ENTER, Input::Backspace, ENTER, Input::Char('d'), Input::Char('o'), Input::Up, ENTER]);
        press(&mut form, &[Input::Tab, ENTER]);
        assert!(text(&form).contains("resuelve a.exampl"));
        assert_eq!(press(&mut form, &[Input::Char('s')]), Some(Filled::Confirmed));
        let values: Vec<&str> = form.fields.iter().map(|field| field.value.as_str()).collect();
        assert_eq!(values, ["a.exampl", "hunter2", "high"]);
    }

    #[test]
    fn escape_goes_back_and_then_out() {
        let mut form = form();
        type_in(&mut form, "a");
        assert_eq!(press(&mut form, &[ENTER, Input::Esc]), None);
        assert!(text(&form).contains("paso 1/2"));
        assert_eq!(press(&mut form, &[Input::Esc]), Some(Filled::GivenUp));
    }

    #[test]
    fn what_is_wrong_cannot_be_confirmed() {
        let mut form = Form::new("Todo", vec![field("SITE", "", false), field("LEVEL", "low", false)]);
        assert_eq!(press(&mut form, &[Input::Char('s')]), None);
        assert!(text(&form).contains("SITE: hace falta"));
        assert_eq!(press(&mut form, &[Input::Char('n')]), Some(Filled::GivenUp));
    }
}
