// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The files that back a guest's disks.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{bail, Context, Result};

use crate::job::Job;
use crate::plan::Scenario;

/// Makes the files of a scenario in `work`: a copy of an image, or nothing but a hole.
///
/// # Errors
///
/// When an image can't be read, is larger than the file is to be, or the file can't be written.
pub(crate) fn make(job: &Job, scenario: &Scenario, work: &Path) -> Result<()> {
    for wanted in &scenario.files {
        let path = work.join(&wanted.name);
        let cannot = || format!("cannot make {}", path.display());
        if let Some(image) = &wanted.image {
            fs::copy(job.image(scenario, image)?, &path).with_context(cannot)?;
        } else {
            File::create(&path).with_context(cannot)?;
        }
        if let Some(mib) = wanted.mib {
            let file = File::options().write(true).open(&path);
            let file = file.with_context(cannot)?;
            let bytes = mib.checked_mul(1 << 20).with_context(cannot)?;
            if file.metadata().with_context(cannot)?.len() > bytes {
                bail!("{} is larger than {mib} MiB", path.display());
            }
            file.set_len(bytes).with_context(cannot)?;
        }
    }
    Ok(())
}
