//! A part of a trace.

use super::Trace;
use crate::packet::Packet;

/// Which frames are replayed. All conditions must hold; numbers stay those of the capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// From this time of the capture on, ns since 1970.
    pub from_ns: Option<u64>,
    /// Before this time of the capture, ns since 1970.
    pub until_ns: Option<u64>,
    /// Of the frames that the other conditions let pass, the first so many.
    pub limit: Option<u64>,
}

impl Trace {
    /// Keeps the selected frames, where `filtered` says of every frame whether a filter selects it
    /// ([`Frames::selected_by`](super::Frames::selected_by)), and of the evaluated ones only those that `wanted` says. With a `wanted`, frames
    /// that are not evaluated are left out: it cannot be asked about them. A datagram of which a piece is left out is
    /// incomplete.
    pub fn select(
        &mut self,
        selection: &Selection,
        filtered: Option<&[bool]>,
        wanted: Option<&dyn Fn(&Packet) -> bool>,
    ) {
        let times = &self.timestamps_ns;
        let is_part = |frame: u32| {
            let at = frame as usize - 1;
            let Some(time) = times.get(at) else { return false };
            if filtered.is_some_and(|selected| selected.get(at) != Some(&true)) {
                return false;
            }
            selection.from_ns.is_none_or(|from| from <= *time) && selection.until_ns.is_none_or(|until| *time < until)
        };
        let mut ignored: Vec<_> = match wanted {
            None => self.ignored.iter().filter(|(frame, _)| is_part(*frame)).copied().collect(),
            Some(_) => Vec::new(),
        };
        let mut keep: Vec<bool> = self
            .packets
            .iter()
            .zip(&self.frames)
            .map(|(packet, frame)| is_part(*frame) && wanted.is_none_or(|wanted| wanted(packet)))
            .collect();
        if let Some(limit) = selection.limit {
            let kept = self.frames.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(frame, _)| *frame);
            let mut frames: Vec<u32> = kept.chain(ignored.iter().map(|(frame, _)| *frame)).collect();
            frames.sort_unstable();
            if let Some(beyond) = usize::try_from(limit).ok().and_then(|limit| frames.get(limit)) {
                ignored.retain(|(frame, _)| frame < beyond);
                keep.iter_mut().zip(&self.frames).for_each(|(keep, frame)| *keep &= frame < beyond);
            }
        }
        self.ignored = ignored;
        self.retain(&keep);
    }

    /// Keeps the packets at these positions.
    fn retain(&mut self, keep: &[bool]) {
        let mut moved = Vec::with_capacity(keep.len());
        let mut kept = 0u32;
        for keep in keep {
            moved.push(keep.then_some(kept));
            kept += u32::from(*keep);
        }
        let to = |position: u32| moved[position as usize];
        let mut incomplete: Vec<u32> = self.incomplete.iter().filter_map(|position| to(*position)).collect();
        self.datagrams.retain_mut(|datagram| {
            let pieces: Vec<u32> = datagram.pieces.iter().filter_map(|piece| to(*piece)).collect();
            let completing = to(datagram.completing);
            match completing {
                Some(completing) if pieces.len() == datagram.pieces.len() => {
                    (datagram.completing, datagram.pieces) = (completing, pieces);
                    true
                }
                _ => {
                    incomplete.extend(pieces.into_iter().chain(completing));
                    false
                }
            }
        });
        incomplete.sort_unstable();
        incomplete.dedup();
        self.incomplete = incomplete;
        let mut flags = keep.iter();
        self.packets.retain(|_| flags.next().is_some_and(|keep| *keep));
        let mut flags = keep.iter();
        self.frames.retain(|_| flags.next().is_some_and(|keep| *keep));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Direction, Ignored, protocol};
    use crate::trace::Datagram;

    /// Frames 1 to 6, a second apart; frame 3 is not evaluated.
    fn trace() -> Trace {
        let mut trace = Trace { timestamps_ns: (1..=6).collect(), ..Trace::default() };
        for frame in [1, 2, 4, 5, 6] {
            let remote = [198, 51, 100, frame as u8].into();
            trace.packets.push(Packet::new(
                [10, 0, 0, 1].into(),
                remote,
                Direction::In,
                protocol::UDP,
                u64::from(frame),
            ));
            trace.frames.push(frame);
        }
        trace.ignored.push((3, Ignored::NotIp));
        trace.datagrams.push(Datagram { completing: 3, pieces: vec![1, 3], packet: trace.packets[3] });
        trace
    }

    #[test]
    fn time_and_limit_count_frames_of_every_kind() {
        let mut some = trace();
        some.select(&Selection { from_ns: Some(2), until_ns: Some(6), limit: Some(2) }, None, None);
        assert_eq!((some.frames.as_slice(), some.ignored.len()), (&[2][..], 1));
        assert_eq!((some.datagrams.len(), some.incomplete.as_slice()), (0, &[0][..]));
        let mut all = trace();
        all.select(&Selection::default(), None, None);
        assert_eq!((all.frames.len(), all.ignored.len(), all.datagrams.len()), (5, 1, 1));
    }

    #[test]
    fn a_filter_selects_frames_of_every_kind() {
        let mut some = trace();
        let selected = [false, true, true, true, false];
        some.select(&Selection { limit: Some(2), ..Selection::default() }, Some(&selected), None);
        assert_eq!((some.frames.as_slice(), some.ignored.len()), (&[2][..], 1));
    }

    #[test]
    fn positions_move_with_what_is_left_out() {
        let mut some = trace();
        let not_the_first = |packet: &Packet| packet.remote[3] != 1;
        some.select(&Selection::default(), None, Some(&not_the_first));
        assert_eq!(some.frames, [2, 4, 5, 6]);
        assert_eq!((some.datagrams[0].completing, some.datagrams[0].pieces.as_slice()), (2, &[0, 2][..]));
        assert!(some.ignored.is_empty());
    }
}
