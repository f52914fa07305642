//! `ctbench completions` and `ctbench man`

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench completions bash > ~/.local/share/bash-completion/completions/ctbench
  ctbench completions fish > ~/.config/fish/completions/ctbench.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  ctbench man | man -l -
  ctbench man compare > ~/.local/share/man/man1/ctbench-compare.1";

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(args: CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "ctbench", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The verb [default: the page about all of them]
    verb: Option<String>,
}

pub(super) fn man(args: ManArgs) -> anyhow::Result<ExitCode> {
    let command = super::Cli::command();
    let command = match &args.verb {
        None => command,
        Some(verb) => {
            let found = command.get_subcommands().find(|command| command.get_name() == verb).cloned();
            let found =
                found.ok_or_else(|| anyhow::anyhow!("there is no verb `{verb}`; `ctbench --help` lists them"))?;
            found.display_name(format!("ctbench-{verb}")).bin_name(format!("ctbench {verb}"))
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    std::io::stdout().lock().write_all(&page)?;
    Ok(ExitCode::SUCCESS)
}
