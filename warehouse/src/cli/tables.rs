//! `warehouse tables`: the table reference.

/// Print the reference of all tables, columns and functions as Markdown
#[derive(Debug, clap::Args)]
pub(crate) struct Tables {}

impl Tables {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        print!("{}", warehouse::schema::markdown());
        Ok(())
    }
}
