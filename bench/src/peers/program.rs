//! A side at work: a child process that is asked line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::abi::{Failure, Outcome};

/// Nothing that is asked takes so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why there is no figure.
#[derive(Clone)]
pub(crate) enum Lack {
    /// The log has no such operation, and why.
    No(String),
    Failed(String),
}

pub(crate) struct Program {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    pub(crate) version: String,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Outcome<Program> {
        let shown = command.get_program().to_string_lossy().into_owned();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| Failure(format!("{shown}: {error}")))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure(format!("{shown} has no pipes")));
        };
        let (sender, lines) = channel();
        // Ends with the child's output.
        thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut program = Program { child, stdin, lines, version: String::new() };
        let first = program.hear().map_err(|why| Failure(format!("{shown}: {why}")))?;
        program.version = first.strip_prefix("ready ").unwrap_or("?").into();
        Ok(program)
    }

    fn hear(&mut self) -> Result<String, String> {
        self.lines.recv_timeout(PATIENCE).map_err(|error| match error {
            std::sync::mpsc::RecvTimeoutError::Timeout => format!("no answer within {} s", PATIENCE.as_secs()),
            std::sync::mpsc::RecvTimeoutError::Disconnected => "the program ended".into(),
        })
    }

    /// The numbers of the answer.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Vec<f64>, Lack> {
        writeln!(self.stdin, "{line}").map_err(|_| Lack::Failed("the program ended".into()))?;
        let answer = self.hear().map_err(Lack::Failed)?;
        match answer.split_once(' ').unwrap_or((&answer, "")) {
            ("ok", numbers) => Ok(numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect()),
            ("no", why) => Err(Lack::No(why.into())),
            (_, why) => Err(Lack::Failed(format!("{line}: {why}"))),
        }
    }

    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}
