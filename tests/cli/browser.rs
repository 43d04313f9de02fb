//! A page in a real browser: chromium without a window, which loads the page in a frame and prints what a script beside
//! it measured. The page itself is not changed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// None, with the reason printed, where there is none; under CI that is a failure.
pub fn browser(test: &str) -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let found = names.iter().find_map(|name| folders.iter().map(|dir| dir.join(name)).find(|file| file.is_file()));
    if found.is_none() {
        println!("skipped: {test}: no chromium on this machine (tests/lab/prepare.sh installs it)");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} may not be skipped under CI: no chromium");
    }
    found
}

pub struct Look<'a> {
    pub browser: &'a Path,
    pub page: &'a Path,
    /// Pixels of CSS.
    pub width: u32,
    pub dark: bool,
}

impl Look<'_> {
    /// What the body of an `async (page, window) => …` gives back once the page has been loaded.
    pub fn measure(&self, script: &str) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let stage = folder.path().join("stage.html");
        // a frame may be narrower than the smallest window
        let html = format!(
            "<!doctype html><meta charset=\"utf-8\"><body style=\"margin:0\">\
             <iframe src=\"file://{page}\" style=\"width:{width}px;height:900px;border:0\"></iframe><script>\n\
             const measure = async (page, window) => {{ {script} }};\n\
             const frame = document.querySelector('iframe');\n\
             frame.onload = async () => {{ let said;\n\
               try {{ said = {{ok: await measure(frame.contentDocument, frame.contentWindow)}} }}\n\
               catch (error) {{ said = {{error: String(error)}} }}\n\
               document.body.innerHTML = ''; document.body.dataset.said = encodeURIComponent(JSON.stringify(said)); }};\n\
             </script>",
            page = self.page.display(),
            width = self.width,
        );
        std::fs::write(&stage, html).unwrap();
        let text = self.dump(&stage, folder.path());
        let said = text.split_once("data-said=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(said, _)| said);
        let said = said.unwrap_or_else(|| panic!("the browser printed nothing that was measured:\n{text}"));
        let said: Value = serde_json::from_str(&decoded(said)).unwrap();
        said.get("ok").unwrap_or_else(|| panic!("in the browser: {}", said["error"])).clone()
    }

    fn dump(&self, stage: &Path, folder: &Path) -> String {
        let mut child = Command::new(self.browser)
            // the only page that it opens is our own; in a container it has no namespaces for its sandbox
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--allow-file-access-from-files", "--virtual-time-budget=20000", "--window-size=1600,1000"])
            .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!self.dark)))
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg("--dump-dom")
            .arg(format!("file://{}", stage.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > Duration::from_secs(180) {
                let _ = child.kill();
                panic!("chromium hangs");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        reader.join().unwrap()
    }
}

/// What `encodeURIComponent` made of a text.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = more.get(..2).filter(|_| *first == b'%').map(|hex| std::str::from_utf8(hex).unwrap());
        bytes.push(hex.map_or(*first, |hex| u8::from_str_radix(hex, 16).unwrap()));
        rest = if hex.is_some() { &more[2..] } else { more };
    }
    String::from_utf8(bytes).unwrap()
}
