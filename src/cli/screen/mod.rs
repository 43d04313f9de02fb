//! Whole screens on the operator's terminal: raw keys in, lines out, and the terminal as it was afterwards.
//!
//! What is shown and what a key does is decided by a [`Face`], which knows no terminal and is therefore tested without
//! one: [`list`] (choose from many) and [`form`] (answer questions, look at the answers, go back). Everything is drawn on
//! standard error, so that standard output stays for data.

use std::io::{IsTerminal, Write};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::{cursor, event, execute, queue, style::Print, terminal};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::error::{Error, Result};

pub mod form;
pub mod list;

/// What the operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Char(char),
    /// Text that came in one piece.
    Paste(String),
    Ctrl(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// A piece of a line and how it looks; without colour it reads the same.
#[derive(Clone)]
pub struct Span {
    pub text: String,
    paint: fn(&str) -> String,
}

pub type Line = Vec<Span>;

/// Text as it is.
pub fn plain(text: impl Into<String>) -> Span {
    Span { text: text.into(), paint: str::to_owned }
}

/// Text in one of the colours of [`crate::report::style`].
pub fn painted(text: impl Into<String>, paint: fn(&str) -> String) -> Span {
    Span { text: text.into(), paint }
}

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// Something that is looked at and answered.
pub trait Face {
    type Answer;
    /// The whole screen; lines beyond its size are cut off.
    fn view(&self, size: Size) -> Vec<Line>;
    /// What a key does; an answer ends the conversation.
    fn input(&mut self, input: Input) -> Option<Self::Answer>;
}

/// How a conversation ended.
pub enum Said<T> {
    Answer(T),
    /// Ctrl-C.
    Interrupted,
}

/// Is somebody there to be asked?
pub fn is_possible() -> bool {
    std::io::stdin().is_terminal()
        && std::io::stderr().is_terminal()
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Shows a face until it has its answer.
pub fn talk<F: Face>(face: &mut F) -> Result<Said<F::Answer>> {
    let mut screen = Screen::open()?;
    loop {
        screen.draw(&face.view(size()))?;
        match screen.read()? {
            Some(Input::Ctrl('c')) => return Ok(Said::Interrupted),
            Some(input) => {
                if let Some(answer) = face.input(input) {
                    return Ok(Said::Answer(answer));
                }
            }
            None => {}
        }
    }
}

/// One line while something takes its time; gone with the value.
pub fn notice(text: &str) -> Result<Screen> {
    let mut screen = Screen::open()?;
    screen.draw(&[Vec::new(), vec![plain(format!("  {text}"))]])?;
    Ok(screen)
}

/// Whether Escape or Ctrl-C was pressed since the last look; other keys are swallowed.
pub fn given_up() -> bool {
    let mut found = false;
    while event::poll(std::time::Duration::ZERO).unwrap_or(false) {
        let Ok(event) = event::read() else { return found };
        found |= matches!(translated(event), Some(Input::Esc | Input::Ctrl('c')));
    }
    found
}

fn size() -> Size {
    let (columns, rows) = terminal::size().unwrap_or((80, 24));
    Size { columns: usize::from(columns).max(20), rows: usize::from(rows).max(8) }
}

/// The terminal's second screen and raw keys, until dropped.
pub struct Screen(());

impl Screen {
    fn open() -> Result<Screen> {
        terminal::enable_raw_mode().map_err(trouble)?;
        let screen = Screen(());
        execute!(std::io::stderr(), terminal::EnterAlternateScreen, event::EnableBracketedPaste, cursor::Hide)
            .map_err(trouble)?;
        Ok(screen)
    }

    fn draw(&mut self, lines: &[Line]) -> Result<()> {
        let Size { columns, rows } = size();
        let mut out = std::io::BufWriter::new(std::io::stderr());
        for row in 0..rows {
            let text = lines.get(row).map(|line| line_text(line, columns)).unwrap_or_default();
            let row = u16::try_from(row).unwrap_or(u16::MAX);
            let clear = terminal::Clear(terminal::ClearType::CurrentLine);
            queue!(out, cursor::MoveTo(0, row), clear, Print(text)).map_err(trouble)?;
        }
        out.flush().map_err(trouble)
    }

    /// The next key; nothing if only the size changed.
    fn read(&mut self) -> Result<Option<Input>> {
        event::read().map(translated).map_err(trouble)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // nobody is left to hear of trouble here
        let _ = execute!(std::io::stderr(), cursor::Show, event::DisableBracketedPaste, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

fn trouble(error: std::io::Error) -> Error {
    Error::new(format!("the terminal does not answer: {error}"))
        .hint("the same can be said with flags: provision --help")
}

fn translated(event: Event) -> Option<Input> {
    let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else {
        return match event {
            Event::Paste(text) => Some(Input::Paste(text)),
            _ => None,
        };
    };
    if kind == KeyEventKind::Release {
        return None;
    }
    Some(match code {
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => Input::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Input::Char(c),
        KeyCode::Enter => Input::Enter,
        KeyCode::Esc => Input::Esc,
        KeyCode::Tab => Input::Tab,
        KeyCode::BackTab => Input::BackTab,
        KeyCode::Backspace => Input::Backspace,
        KeyCode::Up => Input::Up,
        KeyCode::Down => Input::Down,
        KeyCode::PageUp => Input::PageUp,
        KeyCode::PageDown => Input::PageDown,
        KeyCode::Home => Input::Home,
        KeyCode::End => Input::End,
        _ => return None,
    })
}

/// A line no wider than the screen, painted.
fn line_text(line: &Line, columns: usize) -> String {
    let (mut text, mut left) = (String::new(), columns);
    for span in line {
        let piece = cut(&span.text, left);
        left = left.saturating_sub(piece.width());
        text.push_str(&(span.paint)(&piece));
    }
    text
}

/// At most so many columns of a text, with `…` where something is left out. Control characters, which would move the
/// cursor, become blanks.
pub fn cut(text: &str, columns: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.width() <= columns {
        return clean;
    }
    let (mut kept, mut used) = (String::new(), 1);
    for c in clean.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// A text in exactly so many columns.
pub fn padded(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let missing = columns.saturating_sub(text.width());
    text + &" ".repeat(missing)
}

/// A text broken into lines at blanks.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.width() + 1 + word.width() > columns {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_their_columns() {
        assert_eq!(cut("atención", 8), "atención");
        assert_eq!(cut("atención", 5), "aten…");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("a\x1b[2Jb", 20), "a [2Jb");
        assert_eq!(padded("ab", 4), "ab  ");
        assert_eq!(cut("ab", 0), "");
        assert_eq!(wrapped("uno dos tres", 7), ["uno dos", "tres"]);
    }
}
