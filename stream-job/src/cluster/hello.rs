//! What processes tell of themselves, and who is let in: decisions without I/O.

use serde::{Deserialize, Serialize};

use super::shape::Shape;

/// What all processes of one cluster have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the job.
    pub job: String,
    /// Version of the code: state and exchanged data have no other schema.
    pub code_version: String,
    /// Hash of the settings that shape rows.
    pub settings_hash: u64,
    /// Processes × workers.
    pub shape: Shape,
}

/// Which of its two connections a process makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// To the leader.
    Join {
        /// Where the others reach it.
        address: String,
    },
    /// To another follower.
    Link(Assembly),
}

/// One coming together of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Assembly {
    /// Generation of the leader.
    pub(super) generation: u64,
    /// Made anew each time.
    pub(super) token: String,
}

/// The first thing that a connecting process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) identity: Identity,
    pub(super) process: usize,
    pub(super) stage: Stage,
}

/// Why a process was not let in. Both sides say it in the same words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It speaks another handshake.
    #[error(
        "version {connecting} of the handshake connects to version {accepting}: all processes need the same binary"
    )]
    Protocol {
        /// Of the process that connects.
        connecting: u16,
        /// Of the process that was connected to.
        accepting: u16,
    },
    /// It does not know the secret.
    #[error("the connecting process has another secret (SPANFLOW_CLUSTER_SECRET)")]
    Secret,
    /// It runs another job.
    #[error("job `{connecting}` connects to job `{accepting}`")]
    Job {
        /// Of the process that connects.
        connecting: String,
        /// Of the process that was connected to.
        accepting: String,
    },
    /// It runs other code.
    #[error(
        "code version {connecting} connects to {accepting}: all processes need the same binary"
    )]
    Code {
        /// Of the process that connects.
        connecting: String,
        /// Of the process that was connected to.
        accepting: String,
    },
    /// It would make other rows.
    #[error(
        "the settings that shape rows differ (hash {connecting:016x} connects to {accepting:016x}); compare \
         `stream-job settings --effective` on both sides"
    )]
    Settings {
        /// Of the process that connects.
        connecting: u64,
        /// Of the process that was connected to.
        accepting: u64,
    },
    /// It counts other processes or workers.
    #[error("processes × workers differ: {connecting} connects to {accepting}")]
    Shape {
        /// Of the process that connects.
        connecting: Shape,
        /// Of the process that was connected to.
        accepting: Shape,
    },
    /// No process has this number, or the connection goes the wrong way.
    #[error("process {connecting} has no reason to connect to process {accepting}")]
    Direction {
        /// The process that connects.
        connecting: usize,
        /// The process that was connected to.
        accepting: usize,
    },
    /// Another process with its number is there.
    #[error(
        "process {process} is there already, at {address}: every process needs a number of its own"
    )]
    Taken {
        /// The number.
        process: usize,
        /// Who has it.
        address: String,
    },
    /// It belongs to another run of the cluster.
    #[error(
        "generation {connecting} connects to generation {accepting}: one of the processes is left over from another run"
    )]
    Stale {
        /// Of the process that connects.
        connecting: u64,
        /// Of the process that was connected to.
        accepting: u64,
    },
}

impl Identity {
    fn check(&self, accepting: &Identity) -> Result<(), Refusal> {
        if self.job != accepting.job {
            return Err(Refusal::Job {
                connecting: self.job.clone(),
                accepting: accepting.job.clone(),
            });
        }
        if self.code_version != accepting.code_version {
            return Err(Refusal::Code {
                connecting: self.code_version.clone(),
                accepting: accepting.code_version.clone(),
            });
        }
        if self.shape != accepting.shape {
            return Err(Refusal::Shape {
                connecting: self.shape,
                accepting: accepting.shape,
            });
        }
        if self.settings_hash != accepting.settings_hash {
            return Err(Refusal::Settings {
                connecting: self.settings_hash,
                accepting: accepting.settings_hash,
            });
        }
        Ok(())
    }
}

impl Hello {
    /// Whether process `process`, at this point of its own way, takes the connection: the leader awaits processes that
    /// join (`assembly` is `None`), the others await those after them, of their own assembly.
    pub(super) fn check(
        &self,
        process: usize,
        identity: &Identity,
        assembly: Option<&Assembly>,
    ) -> Result<(), Refusal> {
        self.identity.check(identity)?;
        let wrong_way = Refusal::Direction {
            connecting: self.process,
            accepting: process,
        };
        if self.process <= process || self.process >= identity.shape.processes {
            return Err(wrong_way);
        }
        match (&self.stage, assembly) {
            (Stage::Join { .. }, None) => Ok(()),
            (Stage::Link(theirs), Some(ours)) if theirs == ours => Ok(()),
            (Stage::Link(theirs), Some(ours)) => Err(Refusal::Stale {
                connecting: theirs.generation,
                accepting: ours.generation,
            }),
            _ => Err(wrong_way),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            job: "spanflow".to_owned(),
            code_version: "1.2.3".to_owned(),
            settings_hash: 7,
            shape: Shape {
                processes: 3,
                workers: 2,
            },
        }
    }

    fn joining(process: usize) -> Hello {
        Hello {
            identity: identity(),
            process,
            stage: Stage::Join {
                address: "127.0.0.1:1".to_owned(),
            },
        }
    }

    fn assembly(generation: u64) -> Assembly {
        Assembly {
            generation,
            token: format!("t{generation}"),
        }
    }

    fn linking(process: usize, generation: u64) -> Hello {
        Hello {
            stage: Stage::Link(assembly(generation)),
            ..joining(process)
        }
    }

    #[test]
    fn a_process_of_the_same_job_code_settings_and_shape_is_let_in() {
        assert_eq!(joining(1).check(0, &identity(), None), Ok(()));
        assert_eq!(joining(2).check(0, &identity(), None), Ok(()));
        assert_eq!(
            linking(2, 5).check(1, &identity(), Some(&assembly(5))),
            Ok(())
        );
    }

    #[test]
    fn each_difference_is_refused_by_its_name() {
        type Change = fn(&mut Identity);
        let cases: [(Change, &str); 4] = [
            (
                |it| it.job = "other".to_owned(),
                "job `other` connects to job `spanflow`",
            ),
            (
                |it| it.code_version = "1.2.4".to_owned(),
                "code version 1.2.4",
            ),
            (
                |it| it.settings_hash = 8,
                "0000000000000008 connects to 0000000000000007",
            ),
            (|it| it.shape.workers = 4, "3×4 connects to 3×2"),
        ];
        for (change, expected) in cases {
            let mut hello = joining(1);
            change(&mut hello.identity);
            let refusal = hello.check(0, &identity(), None).map_err(|e| e.to_string());
            assert!(
                refusal.as_ref().is_err_and(|said| said.contains(expected)),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn a_process_left_over_from_another_generation_is_refused() {
        for (theirs, ours) in [(4, 5), (6, 5)] {
            let refusal = linking(2, theirs).check(1, &identity(), Some(&assembly(ours)));
            let stale = Refusal::Stale {
                connecting: theirs,
                accepting: ours,
            };
            assert_eq!(refusal, Err(stale));
        }
        // The same generation come together again has another token.
        let again = Assembly {
            token: "other".to_owned(),
            ..assembly(5)
        };
        assert!(linking(2, 5).check(1, &identity(), Some(&again)).is_err());
    }

    #[test]
    fn connections_in_the_wrong_direction_or_of_no_process_are_refused() {
        for (hello, process, assembly) in [
            (joining(0), 0, None),
            (joining(3), 0, None),
            (linking(1, 5), 1, Some(assembly(5))),
            (linking(2, 5), 0, None),
            (joining(2), 1, Some(assembly(5))),
        ] {
            let refusal = hello.check(process, &identity(), assembly.as_ref());
            assert!(
                matches!(refusal, Err(Refusal::Direction { .. })),
                "{hello:?}"
            );
        }
    }
}
