//! This machine's package sources, and the same mirror for another suite.
//!
//! In: the texts of apt's source lists, in either format, and the suite that the machine itself runs. Out: the text of a
//! source list that names another suite on the same mirror with the same keys. Always: no mirror is known in advance.

use std::path::Path;

/// One entry of a source list: field names in lower case with their values, which may have several lines.
type Stanza = Vec<(String, String)>;

fn field<'a>(stanza: &'a Stanza, name: &str) -> Option<&'a str> {
    stanza.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn has_word(stanza: &Stanza, name: &str, word: &str) -> bool {
    field(stanza, name).is_some_and(|value| value.split_whitespace().any(|found| found == word))
}

/// Reads the machine's source lists and writes one for `suite`.
pub(super) fn for_suite(suite: &str) -> Result<String, String> {
    let release = read(Path::new("/etc/os-release")).unwrap_or_default();
    let own = own_suites(&release);
    let mut stanzas = one_line(&read(Path::new("/etc/apt/sources.list")).unwrap_or_default());
    let mut files: Vec<_> = std::fs::read_dir("/etc/apt/sources.list.d")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    for file in files {
        let text = read(&file).unwrap_or_default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => stanzas.extend(one_line(&text)),
            Some("sources") => stanzas.extend(deb822(&text)),
            _ => {}
        }
    }
    pick(&stanzas, &own).map(|stanza| render(stanza, suite)).ok_or_else(|| {
        format!("no apt source of this machine has the component main for {}", own.join(" or "))
    })
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The names by which source lists may call the suite that this machine runs.
fn own_suites(os_release: &str) -> Vec<String> {
    let code = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let mut names: Vec<String> = code.map(|name| name.trim_matches('"').to_owned()).into_iter().collect();
    names.extend(["stable", "testing", "unstable", "sid"].map(str::to_owned));
    names
}

/// The first entry that holds the machine's own suite.
fn pick<'a>(stanzas: &'a [Stanza], own: &[String]) -> Option<&'a Stanza> {
    let usable = |stanza: &&Stanza| {
        has_word(stanza, "types", "deb")
            && has_word(stanza, "components", "main")
            && field(stanza, "enabled").is_none_or(|value| value != "no")
            && own.iter().any(|suite| has_word(stanza, "suites", suite))
    };
    stanzas.iter().find(usable)
}

/// A source list of one entry: the same mirror and trust, another suite.
fn render(stanza: &Stanza, suite: &str) -> String {
    let mut text = format!("Types: deb\nSuites: {suite}\nComponents: main\n");
    for (name, value) in stanza {
        if matches!(name.as_str(), "uris" | "signed-by" | "trusted") || name.starts_with("allow-") {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    text
}

/// Entries of a file in deb822 style: fields, continued by indented lines, parted by empty lines.
fn deb822(text: &str) -> Vec<Stanza> {
    let mut stanzas = vec![Stanza::new()];
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            stanzas.push(Stanza::new());
        } else if let Some(stanza) = stanzas.last_mut() {
            match line.split_once(':').filter(|_| !line.starts_with([' ', '\t'])) {
                Some((name, value)) => stanza.push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => {
                    if let Some((_, value)) = stanza.last_mut() {
                        value.push('\n');
                        value.push_str(line);
                    }
                }
            }
        }
    }
    stanzas
}

/// Entries of the older style: `deb [option=value …] URI SUITE COMPONENT…`.
fn one_line(text: &str) -> Vec<Stanza> {
    text.lines().filter_map(one_entry).collect()
}

fn one_entry(line: &str) -> Option<Stanza> {
    let line = line.split('#').next().unwrap_or("").trim();
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let mut stanza: Stanza = vec![("types".to_owned(), kind.to_owned())];
    let mut rest = rest.trim_start();
    if let Some(inside) = rest.strip_prefix('[') {
        let (options, after) = inside.split_once(']')?;
        rest = after.trim_start();
        let pairs = options.split_whitespace().filter_map(|option| option.split_once('='));
        stanza.extend(pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.replace(',', " "))));
    }
    let mut words = rest.split_whitespace();
    stanza.push(("uris".to_owned(), words.next()?.to_owned()));
    stanza.push(("suites".to_owned(), words.next()?.to_owned()));
    stanza.push(("components".to_owned(), words.collect::<Vec<_>>().join(" ")));
    Some(stanza)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 2] = ["bookworm", "stable"];

    fn rendered(stanzas: &[Stanza]) -> Option<String> {
        pick(stanzas, &OWN.map(str::to_owned)).map(|stanza| render(stanza, "sid"))
    }

    #[test]
    fn both_styles_give_the_same_mirror() {
        let new = "\
# a comment
Types: deb deb-src
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/keys.gpg

Types: deb
URIs: http://security.invalid/debian-security
Suites: bookworm-security
Components: main
";
        let old = "\
deb http://security.invalid/debian-security bookworm-security main
deb [arch=amd64 signed-by=/usr/share/keyrings/keys.gpg] http://mirror.invalid/debian bookworm main # here
";
        let expected = "Types: deb\nSuites: sid\nComponents: main\n";
        for stanzas in [deb822(new), one_line(old)] {
            let text = rendered(&stanzas).unwrap();
            assert!(text.starts_with(expected), "{text}");
            assert!(text.contains("uris: http://mirror.invalid/debian\n"), "{text}");
            assert!(text.contains("signed-by: /usr/share/keyrings/keys.gpg\n"), "{text}");
            assert!(!text.contains("arch"), "{text}");
        }
    }

    #[test]
    fn keys_inside_the_file_are_kept() {
        let text = "Types: deb\nURIs: http://mirror.invalid/\nSuites: stable\nComponents: main\nSigned-By:\n -----BEGIN\n .\n end\n";
        let text = rendered(&deb822(text)).unwrap();
        assert!(text.ends_with("signed-by: \n -----BEGIN\n .\n end\n"), "{text}");
    }

    #[test]
    fn other_sources_are_not_taken() {
        let disabled =
            "Enabled: no\nTypes: deb\nURIs: http://mirror.invalid/\nSuites: stable\nComponents: main\n";
        assert_eq!(rendered(&deb822(disabled)), None);
        assert_eq!(
            rendered(&one_line(
                "deb http://other.invalid/ nodistro main\n#deb x bookworm main\ndeb-src x bookworm main"
            )),
            None
        );
    }

    #[test]
    fn the_machine_names_its_suite() {
        assert_eq!(own_suites("NAME=x\nVERSION_CODENAME=bookworm\n")[0], "bookworm");
    }
}
