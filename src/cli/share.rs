//! `--shard I/N`: a share of the trace's flows.

use super::input::Input;
use crate::report::result::Share;
use anyhow::ensure;

/// Which share.
pub(super) type ShareArg = Share;

/// Parses `2/4`.
pub(super) fn share(text: &str) -> Result<ShareArg, String> {
    let parsed = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
    match parsed {
        Some((index, of)) if 1 <= index && index <= of => Ok(Share { index, of }),
        _ => Err("a share and their number, such as 1/4".into()),
    }
}

impl Input {
    /// Keeps whole shards of the flow table, so that every flow meets in its share what it meets in the whole.
    pub(super) fn keep_share(&mut self, share: ShareArg) -> anyhow::Result<()> {
        let w = &mut self.workload;
        let shards = u64::from(w.geometry.shards);
        ensure!(
            share.of <= shards,
            "--shard {}/{}: the flow table has {shards} shards, so there are at most as many shares",
            share.index,
            share.of
        );
        ensure!(
            w.config.allowance == 0,
            "--shard does not go with an allowance of connections, which is one for all flows: take `allowance` out of the scenario"
        );
        w.keep_share(share.index - 1, share.of);
        self.flows = self.workload.flows();
        self.share = Some(share);
        // What the scenario expects, it expects of the whole.
        self.expect = None;
        Ok(())
    }
}
