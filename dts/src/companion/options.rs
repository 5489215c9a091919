//! The options of the companions: getopt's habits, over a table for each command.

/// Short name, long name, what the argument is (none where empty), what the option does.
pub type Row = (char, &'static str, &'static str, &'static str);

/// How a command is used.
pub struct Usage {
    /// What follows "Usage:", in lines.
    pub synopsis: &'static str,
    /// Its own options; `-h` and `-V` are everybody's.
    pub options: &'static [Row],
}

const COMMON: [Row; 2] = [('h', "help", "", "print this"), ('V', "version", "", "print the version")];

/// The arguments, sorted.
#[derive(Debug, Default)]
pub struct Parsed {
    given: Vec<(char, String)>,
    /// What is no option, in order.
    pub rest: Vec<String>,
}

impl Parsed {
    /// Says whether an option was given.
    pub fn has(&self, letter: char) -> bool {
        self.value(letter).is_some()
    }

    /// Returns an option's argument; of several the last.
    pub fn value(&self, letter: char) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| *given == letter).map(|(_, value)| value.as_str())
    }

    /// Returns which of these options was given last.
    pub fn last_of(&self, letters: &str) -> Option<char> {
        self.given.iter().rev().map(|(given, _)| *given).find(|given| letters.contains(*given))
    }
}

impl Usage {
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.options.iter().chain(&COMMON)
    }

    /// Returns the text for `--help`.
    pub fn text(&self) -> String {
        let mut text = format!("Usage: {}\n\nOptions:\n", self.synopsis);
        for (short, long, argument, does) in self.rows() {
            text += &format!("  {:<30}{does}\n", format!("-{short}, --{long} {argument}"));
        }
        text
    }

    /// Reads the arguments after the command's name.
    pub fn parse(&self, arguments: &[String]) -> Result<Parsed, String> {
        let (mut parsed, mut arguments) = (Parsed::default(), arguments.iter());
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                parsed.rest.extend(arguments.cloned());
                break;
            } else if let Some(long) = argument.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let row = self.long(name)?;
                let value = match (row.2.is_empty(), value) {
                    (true, Some(_)) => return Err(format!("option --{} takes no argument", row.1)),
                    (true, None) => String::new(),
                    (false, Some(value)) => value,
                    (false, None) => {
                        arguments.next().cloned().ok_or_else(|| format!("option --{} wants an argument", row.1))?
                    }
                };
                parsed.given.push((row.0, value));
            } else if argument.len() > 1 && argument.starts_with('-') {
                self.short(&argument[1..], &mut arguments, &mut parsed)?;
            } else {
                parsed.rest.push(argument.clone());
            }
        }
        Ok(parsed)
    }

    /// Finds a long option by its name, or by a beginning that only it has.
    fn long(&self, name: &str) -> Result<&Row, String> {
        let exact = self.rows().find(|row| row.1 == name);
        let mut fitting = self.rows().filter(|row| row.1.starts_with(name));
        match (exact, fitting.next(), fitting.next()) {
            (Some(row), ..) | (None, Some(row), None) => Ok(row),
            (None, None, _) => Err(format!("unknown option --{name}")),
            (None, Some(_), Some(_)) => Err(format!("option --{name} is ambiguous")),
        }
    }

    /// Reads a group of short options; the argument of the last may be its rest or the next word.
    fn short<'a>(
        &self,
        group: &str,
        arguments: &mut impl Iterator<Item = &'a String>,
        parsed: &mut Parsed,
    ) -> Result<(), String> {
        for (index, letter) in group.char_indices() {
            let row = self.rows().find(|row| row.0 == letter).ok_or_else(|| format!("unknown option -{letter}"))?;
            if row.2.is_empty() {
                parsed.given.push((letter, String::new()));
                continue;
            }
            let value = match &group[index + letter.len_utf8()..] {
                "" => arguments.next().cloned().ok_or_else(|| format!("option -{letter} wants an argument"))?,
                rest => rest.to_owned(),
            };
            parsed.given.push((letter, value));
            break;
        }
        Ok(())
    }
}
