//! Choosing from many: typed letters filter, digits are numbers of entries, capital letters show only entries of one
//! kind, the blank marks. Long lists are turned page by page, each under the heading it belongs to.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::{Face, Input, Line, Size, padded, painted, plain};
use crate::report::style::{bold, dim, green, red, yellow};

/// Something that can be chosen, or only looked at.
#[derive(Clone, Default)]
pub struct Entry {
    pub heading: String,
    /// By which it is chosen and found.
    pub id: String,
    pub aliases: Vec<String>,
    /// What it is, for people; searched as well.
    pub title: String,
    /// A short text between the title and the state.
    pub badge: String,
    pub state: State,
    pub state_text: String,
    /// Shown below the list while the cursor is on it.
    pub detail: Vec<String>,
}

/// How an entry stands; decides its colour and which filter keys show it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum State {
    #[default]
    Neutral,
    Available,
    Installed,
    /// Installed, and something newer waits.
    Pending,
    /// Cannot be chosen.
    Broken,
}

/// Words that leave the menu when they are typed and nothing is called so.
const LEAVE: [&str; 5] = ["q", "x", "exit", "sair", "salir"];

/// A list on the screen.
pub struct List {
    title: String,
    entries: Vec<Entry>,
    how_many: HowMany,
    filter: String,
    only: Option<State>,
    marked: BTreeSet<usize>,
    /// Position among the shown entries.
    cursor: usize,
    says: String,
    /// Lines that the list had when it was last looked at.
    rows: Cell<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HowMany {
    One,
    Some,
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// Positions of entries, in their order.
    Chosen(Vec<usize>),
    Back,
    Leave,
}

impl List {
    pub fn new(title: impl Into<String>, entries: Vec<Entry>, how_many: HowMany) -> List {
        List {
            title: title.into(),
            entries,
            how_many,
            filter: String::new(),
            only: None,
            marked: BTreeSet::new(),
            cursor: 0,
            says: String::new(),
            rows: Cell::new(10),
        }
    }

    /// These are marked from the start.
    pub fn marked(mut self, ids: &[String]) -> List {
        self.marked = (0..self.entries.len()).filter(|index| ids.contains(&self.entries[*index].id)).collect();
        self
    }

    /// Entries that the filters let through, as positions.
    fn shown(&self) -> Vec<usize> {
        let terms: Vec<String> = self.filter.split(',').map(|term| folded(term.trim())).collect();
        let terms: Vec<&String> = terms.iter().filter(|term| !term.is_empty()).collect();
        let kind = |entry: &Entry| match self.only {
            None => true,
            // what has an update is installed, too
            Some(State::Installed) => matches!(entry.state, State::Installed | State::Pending),
            Some(state) => entry.state == state,
        };
        let fits = |index: usize, term: &str| {
            let entry = &self.entries[index];
            match term.parse::<usize>() {
                Ok(_) => (index + 1).to_string().starts_with(term) || folded(&entry.id).contains(term),
                Err(_) => self.words(index).iter().any(|word| word.contains(term)),
            }
        };
        let all = 0..self.entries.len();
        all.filter(|index| kind(&self.entries[*index]))
            .filter(|index| terms.is_empty() || terms.iter().any(|term| fits(*index, term)))
            .collect()
    }

    fn words(&self, index: usize) -> Vec<String> {
        let entry = &self.entries[index];
        [&entry.id, &entry.title, &entry.heading].into_iter().chain(&entry.aliases).map(|word| folded(word)).collect()
    }

    /// The entries that the typed words name exactly: by number, id or alias.
    fn named(&self) -> Vec<usize> {
        let mut found = BTreeSet::new();
        for term in self.filter.split(',').map(|term| folded(term.trim())).filter(|term| !term.is_empty()) {
            let by_number = term.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let called =
                |entry: &Entry| folded(&entry.id) == term || entry.aliases.iter().any(|alias| folded(alias) == term);
            let by_name = self.entries.iter().position(called);
            match by_name.or(by_number.filter(|index| *index < self.entries.len())) {
                Some(index) => found.insert(index),
                None => return Vec::new(),
            };
        }
        found.into_iter().collect()
    }

    fn enter(&mut self) -> Option<Choice> {
        let shown = self.shown();
        let named = self.named();
        let chosen = match (named.is_empty(), self.marked.is_empty()) {
            (false, _) => named.into_iter().chain(self.marked.iter().copied()).collect::<BTreeSet<_>>(),
            (true, false) => self.marked.clone(),
            (true, true) => shown.get(self.cursor).copied().into_iter().collect(),
        };
        let broken: Vec<&str> = chosen
            .iter()
            .filter(|index| self.entries[**index].state == State::Broken)
            .map(|index| self.entries[*index].id.as_str())
            .collect();
        match (chosen.is_empty(), broken.is_empty()) {
            (true, _) => self.says = "no hay nada elegido".to_owned(),
            (false, false) => self.says = format!("no se puede elegir: {} está roto", broken.join(", ")),
            (false, true) => return Some(Choice::Chosen(chosen.into_iter().collect())),
        }
        None
    }

    fn mark(&mut self) {
        let Some(index) = self.shown().get(self.cursor).copied() else { return };
        if self.entries[index].state == State::Broken {
            self.says = format!("no se puede elegir: {} está roto", self.entries[index].id);
        } else if !self.marked.remove(&index) {
            self.marked.insert(index);
        }
    }

    fn mark_all(&mut self) {
        let good = self.shown().into_iter().filter(|index| self.entries[*index].state != State::Broken);
        let good: BTreeSet<usize> = good.collect();
        if good.iter().all(|index| self.marked.contains(index)) {
            self.marked.retain(|index| !good.contains(index));
        } else {
            self.marked.extend(good);
        }
    }

    /// A capital letter: entries of one kind, or all again.
    fn show_only(&mut self, letter: char) -> bool {
        let only = match letter {
            'T' => None,
            'I' => Some(State::Installed),
            'A' => Some(State::Available),
            'U' => Some(State::Pending),
            _ => return false,
        };
        if !self.has_states() {
            return false;
        }
        self.only = only;
        self.cursor = 0;
        true
    }

    /// To the first entry of another page.
    fn turn(&mut self, by: isize) {
        let pages = pages(&self.entries, &self.shown(), self.rows.get());
        let here = pages.iter().position(|page| page.contains(&Row::Entry(self.cursor))).unwrap_or(0);
        let there = here.saturating_add_signed(by).min(pages.len() - 1);
        let first = pages[there].iter().find_map(|row| match row {
            Row::Entry(position) => Some(*position),
            Row::Heading(..) => None,
        });
        self.cursor = first.unwrap_or(0);
    }

    fn has_states(&self) -> bool {
        self.entries.iter().any(|entry| entry.state != State::Neutral)
    }

    fn type_in(&mut self, text: &str) {
        self.filter.extend(text.chars().filter(|c| !c.is_control()));
        self.cursor = 0;
    }

    fn head(&self, page: usize, pages: usize) -> Vec<Line> {
        let mut title = vec![painted(format!(" {}", self.title), bold)];
        if pages > 1 {
            title.push(painted(format!("   página {}/{pages}", page + 1), dim));
        }
        let mut filter = vec![plain(" Buscar: "), painted(format!("{}▏", self.filter), bold)];
        if self.has_states() {
            let count = |test: &dyn Fn(State) -> bool| self.entries.iter().filter(|e| test(e.state)).count();
            let installed = |state| matches!(state, State::Installed | State::Pending);
            for (state, label, count) in [
                (None, "T todos", self.entries.len()),
                (Some(State::Installed), "I instalados", count(&installed)),
                (Some(State::Available), "A disponibles", count(&|state| state == State::Available)),
                (Some(State::Pending), "U por actualizar", count(&|state| state == State::Pending)),
            ] {
                let text = format!("{label} {count}");
                filter.push(plain("  "));
                filter.push(match self.only == state {
                    true => painted(format!("[{text}]"), bold),
                    false => painted(format!(" {text} "), dim),
                });
            }
        }
        vec![title, filter, Vec::new()]
    }

    fn foot(&self, rows: usize, columns: usize) -> Vec<Line> {
        let mut lines = vec![vec![painted("─".repeat(columns), dim)]];
        let detail = self.shown().get(self.cursor).map(|index| self.entries[*index].detail.clone()).unwrap_or_default();
        lines.extend((0..rows).map(|row| vec![plain(format!(" {}", detail.get(row).cloned().unwrap_or_default()))]));
        lines.push(match self.says.is_empty() {
            true if LEAVE.contains(&self.filter.trim()) && self.named().is_empty() => {
                vec![painted(" Intro: salir", yellow)]
            }
            true => vec![painted(format!(" {}", self.keys()), dim)],
            false => vec![painted(format!(" {}", self.says), yellow)],
        });
        lines
    }

    fn keys(&self) -> String {
        let marks = if self.how_many == HowMany::Some { "espacio marcar · ^A todos · " } else { "" };
        format!("↑↓ mover · RePág/AvPág página · {marks}Intro seguir · Esc atrás · q+Intro salir")
    }

    /// Columns of id, title and badge, so that all entries that are shown fit.
    fn widths(&self, shown: &[usize], columns: usize) -> [usize; 3] {
        let widest = |text: fn(&Entry) -> &String| {
            shown.iter().map(|index| text(&self.entries[*index]).chars().count()).max().unwrap_or(0)
        };
        let (id, badge) = (widest(|entry| &entry.id).min(24), widest(|entry| &entry.badge).min(14));
        [id, widest(|entry| &entry.title).min(columns.saturating_sub(id + badge + 50).max(16)), badge]
    }

    fn row(&self, index: usize, here: bool, [id, title, badge]: [usize; 3]) -> Line {
        let entry = &self.entries[index];
        let box_text = match (self.how_many, self.marked.contains(&index)) {
            (HowMany::One, _) => "",
            (HowMany::Some, true) => "[x] ",
            (HowMany::Some, false) => "[ ] ",
        };
        let digits = self.entries.len().to_string().len();
        let name = format!("{} {box_text}{:>digits$}  ", if here { "❯" } else { " " }, index + 1);
        let paint = match entry.state {
            State::Neutral => str::to_owned,
            State::Available => dim,
            State::Installed => green,
            State::Pending => yellow,
            State::Broken => red,
        };
        let strong = if here { bold } else { str::to_owned };
        vec![
            painted(name, strong),
            painted(format!("{}  ", padded(&entry.id, id)), strong),
            plain(format!("{}  {}  ", padded(&entry.title, title), padded(&entry.badge, badge))),
            painted(entry.state_text.clone(), paint),
        ]
    }
}

/// What stands on a line of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Row {
    /// The heading of this entry; `true`: goes on from the page before.
    Heading(usize, bool),
    /// Position among the shown entries.
    Entry(usize),
}

/// Shown entries on pages of so many lines, headings included.
fn pages(entries: &[Entry], shown: &[usize], rows: usize) -> Vec<Vec<Row>> {
    let mut pages = vec![Vec::new()];
    let mut heading: Option<&str> = None;
    for (position, index) in shown.iter().enumerate() {
        let own = entries[*index].heading.as_str();
        let new = heading != Some(own);
        let wanted = if own.is_empty() || !new { 1 } else { 2 };
        let full = pages.last().is_some_and(|page: &Vec<Row>| !page.is_empty() && page.len() + wanted > rows);
        if full {
            pages.push(Vec::new());
        }
        if let Some(page) = pages.last_mut() {
            if !own.is_empty() && (new || full) {
                page.push(Row::Heading(*index, !new));
            }
            page.push(Row::Entry(position));
        }
        heading = Some(own);
    }
    pages
}

/// Without case and accents, as people type.
fn folded(text: &str) -> String {
    let plain = |c: char| match c {
        'á' | 'à' | 'ã' | 'â' => 'a',
        'é' | 'ê' => 'e',
        'í' => 'i',
        'ó' | 'õ' | 'ô' => 'o',
        'ú' | 'ü' => 'u',
        'ñ' => 'n',
        'ç' => 'c',
        other => other,
    };
    text.to_lowercase().chars().map(plain).collect()
}

/// Lines of the list itself; the rest is title, filter, details and keys.
fn rows_for(size: Size) -> (usize, usize) {
    let detail = if size.rows >= 20 { 5 } else { 2 };
    (size.rows.saturating_sub(detail + 5).max(3), detail)
}

impl Face for List {
    type Answer = Choice;

    fn view(&self, size: Size) -> Vec<Line> {
        let (rows, detail) = rows_for(size);
        self.rows.set(rows);
        let shown = self.shown();
        let pages = pages(&self.entries, &shown, rows);
        let page = pages.iter().position(|page| page.contains(&Row::Entry(self.cursor))).unwrap_or(0);
        let widths = self.widths(&shown, size.columns);
        let mut lines = self.head(page, pages.len());
        let mut body: Vec<Line> = pages[page]
            .iter()
            .map(|row| match row {
                Row::Heading(index, goes_on) => {
                    let sigue = if *goes_on { " (sigue)" } else { "" };
                    vec![painted(format!(" {}{sigue}", self.entries[*index].heading), bold)]
                }
                Row::Entry(position) => self.row(shown[*position], *position == self.cursor, widths),
            })
            .collect();
        if shown.is_empty() {
            body.push(vec![painted("   nada coincide", dim)]);
        }
        body.resize(rows, Vec::new());
        lines.extend(body);
        lines.extend(self.foot(detail, size.columns));
        lines
    }

    fn input(&mut self, input: Input) -> Option<Choice> {
        self.says.clear();
        let last = self.shown().len().saturating_sub(1);
        match input {
            Input::Enter if LEAVE.contains(&self.filter.trim()) && self.named().is_empty() => {
                return Some(Choice::Leave);
            }
            Input::Enter => return self.enter(),
            Input::Esc if self.filter.is_empty() && self.only.is_none() => return Some(Choice::Back),
            Input::Esc => {
                self.filter.clear();
                self.only = None;
                self.cursor = 0;
            }
            Input::Char(' ') if self.how_many == HowMany::Some => self.mark(),
            Input::Ctrl('a') if self.how_many == HowMany::Some => self.mark_all(),
            Input::Char(c) if c.is_ascii_uppercase() && self.show_only(c) => {}
            Input::Char(c) => self.type_in(c.encode_utf8(&mut [0; 4])),
            Input::Paste(text) => self.type_in(&text),
            Input::Backspace => {
                self.filter.pop();
                self.cursor = 0;
            }
            Input::Ctrl('u') => {
                self.filter.clear();
                self.cursor = 0;
            }
            Input::Up | Input::BackTab => self.cursor = self.cursor.checked_sub(1).unwrap_or(last),
            Input::Down | Input::Tab => self.cursor = if self.cursor >= last { 0 } else { self.cursor + 1 },
            Input::PageUp => self.turn(-1),
            Input::PageDown => self.turn(1),
            Input::Home => self.cursor = 0,
            Input::End => self.cursor = last,
            Input::Ctrl(_) => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        let entry = |id: &str, heading: &str, aliases: &[&str], state: State| Entry {
            id: id.to_owned(),
            heading: heading.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            title: id.to_uppercase(),
            state,
            ..Entry::default()
        };
        let entries = vec![
            entry("apple", "Atención", &["manzana"], State::Installed),
            entry("pear", "Atención", &[], State::Available),
            entry("plum", "Otros", &[], State::Pending),
            entry("rotten", "Otros", &[], State::Broken),
        ];
        List::new("Fruta", entries, HowMany::Some)
    }

    fn typed(list: &mut List, text: &str) {
        for c in text.chars() {
            assert_eq!(list.input(Input::Char(c)), None, "{c}");
        }
    }

    fn answer(keys: &str) -> Option<Choice> {
        let mut list = list();
        typed(&mut list, keys);
        list.input(Input::Enter)
    }

    #[test]
    fn what_is_typed_chooses_by_number_name_alias_or_place() {
        assert_eq!(answer("2"), Some(Choice::Chosen(vec![1])));
        assert_eq!(answer("manzana"), Some(Choice::Chosen(vec![0])));
        assert_eq!(answer("3,manzana"), Some(Choice::Chosen(vec![0, 2])));
        assert_eq!(answer("atencion"), Some(Choice::Chosen(vec![0])), "the first that is shown");
        assert_eq!(answer("otr"), Some(Choice::Chosen(vec![2])));
        assert_eq!(answer(""), Some(Choice::Chosen(vec![0])));
        assert_eq!(answer("zzz"), None);
    }

    #[test]
    fn words_leave() {
        for word in ["q", "sair", "exit", "salir"] {
            assert_eq!(answer(word), Some(Choice::Leave), "{word}");
        }
    }

    #[test]
    fn capital_letters_show_one_kind_and_blanks_mark() {
        let mut list = list();
        typed(&mut list, "U");
        assert_eq!(list.shown(), [2]);
        typed(&mut list, " I");
        assert_eq!(list.shown(), [0, 2], "what waits for an update is installed");
        typed(&mut list, "A");
        assert_eq!(list.shown(), [1]);
        typed(&mut list, " ");
        assert_eq!(list.input(Input::Esc), None, "the first takes the filter away");
        assert_eq!(list.input(Input::Enter), Some(Choice::Chosen(vec![1, 2])));
        assert_eq!(list.input(Input::Esc), Some(Choice::Back));
    }

    #[test]
    fn broken_entries_cannot_be_chosen() {
        assert_eq!(answer("rotten"), None);
        let mut list = list();
        assert_eq!(list.input(Input::Ctrl('a')), None);
        assert_eq!(list.input(Input::Enter), Some(Choice::Chosen(vec![0, 1, 2])));
        typed(&mut list, "rotten ");
        assert!(list.says.contains("roto"));
    }

    #[test]
    fn pages_repeat_their_heading() {
        let list = list();
        let rows = pages(&list.entries, &[0, 1, 2, 3], 2);
        use Row::{Entry, Heading};
        assert_eq!(
            rows,
            [
                [Heading(0, false), Entry(0)],
                [Heading(1, true), Entry(1)],
                [Heading(2, false), Entry(2)],
                [Heading(3, true), Entry(3)],
            ]
        );
        assert_eq!(pages(&list.entries, &[], 2).len(), 1);
    }

    #[test]
    fn pages_are_turned_as_a_whole() {
        let mut list = list();
        // three lines are the least: a heading and two entries
        list.view(Size { columns: 80, rows: 8 });
        let mut at = Vec::new();
        for key in [Input::PageDown, Input::PageDown, Input::PageUp] {
            list.input(key);
            at.push(list.cursor);
        }
        assert_eq!(at, [2, 2, 0]);
    }

    #[test]
    fn the_view_fills_the_screen_and_no_more() {
        for rows in [10, 24, 60] {
            assert_eq!(list().view(Size { columns: 80, rows }).len(), rows, "{rows}");
        }
    }
}
