//! What the command line can say. The man pages and completions are made from this.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// How a run ended: part of every man page.
pub(crate) const EXIT_CODES: &str = "\
Exit status:
  0  all is well, or what was asked for is done
  1  the log is damaged, or lacks records that were asked for
  2  the command line is wrong
  3  there is no log in this directory
  4  the log is locked: a writer has it open
  5  anything else failed: input/output, permissions, a newer format

Output is for people if it goes to a terminal, JSON otherwise; --human
and --json say so whatever it goes to. Errors and progress go to standard
error. Bytes from a log that could steer a terminal are shown as escapes.";

/// Looks at write-ahead logs, checks them, repairs them, and asks a disk how it likes them.
#[derive(Debug, Parser)]
#[command(name = "walctl", version, after_long_help = EXIT_CODES, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) form: Form,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to print.
#[derive(Debug, Args)]
pub(crate) struct Form {
    /// Print JSON, one object a line [default unless standard output is a terminal]
    #[arg(long, global = true, conflicts_with = "human", display_order = 900)]
    pub(crate) json: bool,
    /// Print for people [default if standard output is a terminal]
    #[arg(long, global = true, display_order = 901)]
    pub(crate) human: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print records, oldest first
    #[command(after_long_help = EXIT_CODES)]
    Dump(Dump),
    /// Where a log stands, without reading its records
    #[command(after_long_help = EXIT_CODES)]
    Stat(Stat),
    /// Read every byte and name every damage; changes nothing
    #[command(after_long_help = EXIT_CODES)]
    Verify(Dir),
    /// Bring a damaged log back to work; says what it would do unless told --yes
    ///
    /// It keeps every record before the first damage and gives up those behind it, whole or not; appending goes on above every sequence number that
    /// was ever used. Nothing is deleted: a damaged segment is renamed to NNNNNNNNNN.damaged, or stays in place if records before the damage are
    /// needed, and the old manifest is copied to MANIFEST.before-repair-N. A good copy of the log is better, if there is one.
    #[command(after_long_help = EXIT_CODES)]
    Repair(Repair),
    /// Drop a pin that nobody needs any more; walctl stat names them
    ///
    /// What it kept goes when the log is truncated next, or opened. Whoever was to read from it can no longer do so. It may be done while the log is
    /// in use.
    #[command(after_long_help = EXIT_CODES)]
    Unpin(Unpin),
    /// Which way of syncing a disk likes, and whether it tells the truth about it
    ///
    /// Writes 4 KiB and syncs, again and again, in a file of its own in the directory, which is removed afterwards.
    #[command(after_long_help = EXIT_CODES)]
    Bench(Bench),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// An existing directory
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Dir {
    /// The log's directory, or the image of a flash chip
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// The log's directory, or the image of a flash chip
    pub(crate) dir: PathBuf,
    /// Begin at this sequence number [default: the oldest record]
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..1 << 62))]
    pub(crate) from: Option<u64>,
    /// End with this sequence number
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..1 << 62))]
    pub(crate) to: Option<u64>,
    /// End after so many records
    #[arg(long, short = 'n', value_name = "RECORDS")]
    pub(crate) limit: Option<u64>,
    /// Print keys and values as hexadecimal bytes beside their text
    #[arg(long, conflicts_with = "json")]
    pub(crate) hex: bool,
    /// Show also what nothing vouches for at the end of a log that was not closed: an opening decides about it
    #[arg(long)]
    pub(crate) unsynced: bool,
    /// Begin among what was forgotten, as far as a pin keeps it
    #[arg(long)]
    pub(crate) pinned: bool,
    /// Step over records that a repair gave up
    #[arg(long)]
    pub(crate) skip_lost: bool,
    /// Go on with what comes later, until interrupted
    #[arg(long, short = 'f', conflicts_with_all = ["to", "limit"])]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// The logs' directories, or images of flash chips
    #[arg(required = true)]
    pub(crate) dirs: Vec<PathBuf>,
    /// Print the Prometheus text exposition format, for the textfile collector of node_exporter
    #[arg(long, action = ArgAction::SetTrue, conflicts_with_all = ["json", "human"])]
    pub(crate) prometheus: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The log's directory
    pub(crate) dir: PathBuf,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Unpin {
    /// The log's directory
    pub(crate) dir: PathBuf,
    /// The pin's name; of a damaged one, its file's
    pub(crate) name: String,
}

/// A way of making 4 KiB durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// fdatasync, blocks written before: what the library does
    Overwrite,
    /// The same past the cache: what WAL_OPTION_DIRECT does
    Direct,
    /// fdatasync, blocks allocated but never written
    Allocated,
    /// fdatasync, a file that grows
    Growing,
    /// O_DSYNC, blocks written before
    Dsync,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// A directory on the disk in question
    pub(crate) dir: PathBuf,
    /// Seconds for each method
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Only these methods
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) methods: Vec<Method>,
}
