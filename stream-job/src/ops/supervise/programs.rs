//! Which programs a hand-over may start: those in the supervisor's own folder, and no others.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::ops::control::is_name;

/// Why a program is not started.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProgramError {
    #[error("`{0}` can't name a program: give the name of a file in {folder}, without a path", folder = .1.display())]
    Name(String, PathBuf),
    #[error("there is no program `{0}` in {folder} (setting `jobs_dir`)", folder = .1.display())]
    Missing(String, PathBuf),
    #[error("`{0}` leads out of {folder}: copy the program there", folder = .1.display())]
    Outside(String, PathBuf),
    #[error("{} is no program that this user may run", .0.display())]
    NotExecutable(PathBuf),
}

/// The program `name` in `folder`. A link may lead to another file of the folder, not out of it.
pub(crate) fn find(folder: &Path, name: &str) -> Result<PathBuf, ProgramError> {
    let (named, folder_named) = (|| name.to_owned(), || folder.to_path_buf());
    if !is_name(name) {
        return Err(ProgramError::Name(named(), folder_named()));
    }
    let missing = || ProgramError::Missing(named(), folder_named());
    let within = folder.canonicalize().map_err(|_| missing())?;
    // Started by the path that was checked, so that a link changed meanwhile changes nothing.
    let path = within.join(name).canonicalize().map_err(|_| missing())?;
    if path.parent() != Some(within.as_path()) {
        return Err(ProgramError::Outside(named(), folder_named()));
    }
    let runs = path
        .metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if runs {
        Ok(path)
    } else {
        Err(ProgramError::NotExecutable(path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_programs_of_the_folder_are_found() {
        let root = tempfile::tempdir().unwrap();
        let jobs = root.path().join("jobs");
        fs::create_dir(&jobs).unwrap();
        let program = |path: &Path, mode| {
            fs::write(path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        program(&jobs.join("stream-job-2"), 0o755);
        program(&jobs.join("notes.txt"), 0o644);
        program(&root.path().join("outside"), 0o755);
        symlink("stream-job-2", jobs.join("newest")).unwrap();
        symlink("../outside", jobs.join("sly")).unwrap();
        symlink(root.path(), jobs.join("folder")).unwrap();

        let found = find(&jobs, "stream-job-2").unwrap();
        assert_eq!(found, jobs.canonicalize().unwrap().join("stream-job-2"));
        assert_eq!(find(&jobs, "newest").unwrap(), found);
        for name in ["../outside", "/bin/sh", "..", ".", "", "a/b", "-x"] {
            let refused = find(&jobs, name);
            assert!(
                matches!(refused, Err(ProgramError::Name(..))),
                "{name}: {refused:?}"
            );
        }
        assert!(matches!(find(&jobs, "sly"), Err(ProgramError::Outside(..))));
        assert!(matches!(
            find(&jobs, "folder"),
            Err(ProgramError::Outside(..))
        ));
        assert!(matches!(
            find(&jobs, "notes.txt"),
            Err(ProgramError::NotExecutable(_))
        ));
        assert!(matches!(
            find(&jobs, "stream-job-3"),
            Err(ProgramError::Missing(..))
        ));
        let absent = find(&root.path().join("absent"), "x");
        assert!(matches!(absent, Err(ProgramError::Missing(..))));
    }
}
