//! Some frames in trace order, and what they decode to.

use crate::conntrack::Profile;
use crate::packet::{Decap, Exempt, Ignored, Inside, Packet, View, decode, innermost};
use crate::trace::chunk::Chunk;
use crate::trace::sequence::not_exempt;
use crate::trace::{Filter, Frame};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Frames that follow each other in the trace.
pub struct Batch {
    /// Number of the first frame, from 1.
    pub(in crate::trace) first: u64,
    /// In trace order; [`Frame::part`] says which of `parts` its bytes are in.
    pub(in crate::trace) frames: Vec<Frame>,
    pub(in crate::trace) parts: Vec<Arc<Chunk>>,
}

impl Batch {
    /// Frames in it.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// As [`crate::trace::Frames::selected_by`].
    fn selected_by(&self, filter: &Filter) -> Vec<bool> {
        let mut matcher = filter.matcher();
        let mut selects = |frame: &Frame| {
            let view = view(&self.parts, frame, Decap::default());
            matcher.selects(view.bytes, view.link_type)
        };
        self.frames.iter().map(&mut selects).collect()
    }

    /// True if it holds no frame.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// What is needed to decode a frame: nothing that depends on other frames.
pub struct Decoder {
    /// The protected addresses.
    pub inside: Inside,
    /// The tunnels that are opened.
    pub decap: Decap,
    /// Under `aws`, what AWS never filters is set aside.
    pub profile: Profile,
    /// More addresses that AWS never filters.
    pub exempt: HashMap<IpAddr, Exempt>,
    /// Which frames are selected, if not all are.
    pub filter: Option<Filter>,
}

/// A batch, decoded. Packets have no time yet.
pub struct DecodedBatch {
    pub(super) batch: Batch,
    /// The decoder's tunnels, for fragments.
    pub(super) decap: Decap,
    /// What is evaluated.
    pub packets: Vec<Packet>,
    /// Which of the batch's frames each is.
    pub(super) at: Vec<u32>,
    /// What is not.
    pub(super) ignored: Vec<(u32, Ignored)>,
    /// Of each of the batch's frames, whether the filter selects it. `None` without one.
    selected: Option<Vec<bool>>,
}

impl Decoder {
    /// Decodes a batch's frames.
    pub fn decode(&self, batch: Batch) -> DecodedBatch {
        let count = batch.frames.len();
        let mut decoded = DecodedBatch {
            decap: self.decap,
            packets: Vec::with_capacity(count),
            at: Vec::with_capacity(count),
            ignored: Vec::new(),
            selected: self.filter.as_ref().map(|filter| batch.selected_by(filter)),
            batch,
        };
        for (at, frame) in (0u32..).zip(&decoded.batch.frames) {
            let view = view(&decoded.batch.parts, frame, self.decap);
            let result = decode(view.bytes, view.link_type, view.wire_len, frame.time_ns, &self.inside);
            match result.and_then(|packet| not_exempt(packet, self.profile, &self.exempt)) {
                Ok(packet) => {
                    decoded.packets.push(packet);
                    decoded.at.push(at);
                }
                Err(why) => decoded.ignored.push((at, why)),
            }
        }
        decoded
    }
}

impl DecodedBatch {
    /// Whether the filter selects a frame of the batch.
    #[inline(always)]
    pub(super) fn is_selected(&self, at: u32) -> bool {
        self.selected.as_ref().is_none_or(|selected| selected[at as usize])
    }

    /// What is looked at of a frame, as in [`crate::trace::Frames::view`].
    pub(super) fn view(&self, frame: &Frame) -> View<'_> {
        view(&self.batch.parts, frame, self.decap)
    }
}

#[inline]
fn view<'a>(parts: &'a [Arc<Chunk>], frame: &Frame, decap: Decap) -> View<'a> {
    let start = frame.offset as usize;
    let bytes = &parts[frame.part as usize][start..start + frame.captured as usize];
    let view = View { bytes, link_type: u32::from(frame.link_type), wire_len: frame.wire as usize };
    if decap.is_none() { view } else { innermost(view, decap) }
}
