//! Hand-over of a running job to another program, and back where that one is not ready in time.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::board::{HandedOver, Phase};
use super::crew::{Crew, Launch};
use super::policy::End;
use super::{Supervisor, copy_settings};
use crate::ops::control::SavepointInfo;
use crate::ops::process_api::SavepointBody;
use crate::source::wall_ms;

/// How long the old processes may take to end once their savepoint is made.
const END_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Makes a savepoint that stops the job and starts `program` from it; goes back to the old program, from the same
    /// savepoint, where the new one ends or is not ready in time. `crew` is what runs afterwards.
    ///
    /// An error leaves the job as it was.
    pub(super) async fn hand_over(
        &mut self,
        crew: &mut Crew,
        program: PathBuf,
    ) -> Result<HandedOver, String> {
        // The settings file is read anew: a hand-over is when changes to it count.
        let settings = copy_settings(self.original.as_deref(), &self.log_folder)
            .map_err(|error| format!("{error:#}"))?;
        let new = Launch {
            program,
            settings,
            ..self.launch.clone()
        };
        self.note(&format!("handing over to {}", new.program.display()));
        let savepoint = self.stop_with_savepoint().await;
        self.stop_given_up = savepoint.is_err();
        let savepoint = savepoint?;
        self.board
            .set_phase(Phase::Draining, Some("handing over".to_owned()));
        crew.all_ended(END_LIMIT).await;
        let Err(reason) = self.try_new(crew, &new, &savepoint).await else {
            self.note(&format!("handed over to {}", new.program.display()));
            self.launch = new;
            return Ok(HandedOver {
                savepoint,
                went_back: None,
            });
        };
        self.note(&format!(
            "going back to {}: {reason}",
            self.launch.program.display()
        ));
        crew.kill().await;
        self.once = from(&savepoint);
        match self.start(None) {
            Ok(old) => *crew = old,
            // The loop takes it for a failure, and starts it again after a wait.
            Err(_) => crew.add_end(self.not_started()),
        }
        Ok(HandedOver {
            savepoint,
            went_back: Some(reason),
        })
    }

    async fn stop_with_savepoint(&self) -> Result<SavepointInfo, String> {
        let asked = SavepointBody {
            name: format!("handover-{}", wall_ms()),
            stop: true,
        };
        let (client, answer) = self.board.savepoint(&asked).await?;
        client
            .read(&answer)
            .map_err(|error| format!("no savepoint to hand over with: {error}"))
    }

    async fn try_new(
        &mut self,
        crew: &mut Crew,
        new: &Launch,
        savepoint: &SavepointInfo,
    ) -> Result<(), String> {
        self.once = from(savepoint);
        *crew = self.start(Some(new)).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + self.handover_timeout;
        loop {
            let waits_for = tokio::select! {
                // One that was ready and has ended is not.
                biased;
                end = crew.next_end() => return Err(said(end)),
                waits_for = self.board.not_ready() => waits_for,
            };
            let Some(waits_for) = waits_for else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                let seconds = self.handover_timeout.as_secs();
                return Err(format!("it was not ready within {seconds} s: {waits_for}"));
            }
            tokio::select! {
                end = crew.next_end() => return Err(said(end)),
                () = sleep(PAUSE) => {}
            }
        }
    }
}

fn said(end: Option<&End>) -> String {
    end.map_or_else(|| "it ended".to_owned(), ToString::to_string)
}

/// The flags of a start from a savepoint.
fn from(savepoint: &SavepointInfo) -> Vec<OsString> {
    vec!["--from".into(), savepoint.path.clone().into()]
}
