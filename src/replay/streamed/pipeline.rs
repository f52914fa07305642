//! Reading and decoding, ahead of what asks for the batches.

use crate::measure::Busy;
use crate::packet::Packet;
use crate::table::FlowHash;
use crate::trace::stream::{Batch, DecodedBatch, Decoder, Reader};
use crate::trace::{Summary, TraceError};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Batches that wait for each decoder, and for what comes after it.
const WAITING: usize = 2;

/// CPU time by stage, all threads of a stage together.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// Reading, decompressing, framing.
    pub read: Busy,
    /// Decoding, and each flow's shard.
    pub decode: Busy,
    /// Putting in sequence and handing to cores, and finding the rules of each packet's interfaces.
    pub steer: Busy,
}

/// A decoded batch with the shard of each of its packets.
pub struct Ready {
    /// The batch.
    pub decoded: DecodedBatch,
    /// One a packet.
    pub shards: Vec<u16>,
}

/// Threads that read and decode a trace.
pub struct Pipeline {
    decoders: Vec<Receiver<Ready>>,
    /// Whose turn it is.
    turn: usize,
    reading: JoinHandle<Result<Summary, TraceError>>,
    decoding: Vec<JoinHandle<()>>,
    /// Reading may have to wait for what comes through a pipe.
    waits: bool,
    stages: Stages,
}

impl Pipeline {
    /// Starts one thread that reads and so many that decode. `hash` and `shards` as in [`super::super::steer()`].
    pub fn start(
        reader: Reader,
        decoder: &Arc<Decoder>,
        hash: FlowHash,
        shards: u32,
        threads: usize,
        stages: &Stages,
    ) -> Result<Self, TraceError> {
        let (mut work, mut decoders, mut decoding) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..threads.max(1) {
            let (to_decode, batches) = sync_channel(WAITING);
            let (to, ready) = sync_channel(WAITING);
            let (decoder, busy) = (decoder.clone(), stages.decode.clone());
            let decode = move || {
                decode_all(&decoder, hash, shards, &batches, &to);
                busy.add_this_thread();
            };
            decoding.push(named(&format!("decode-{number}"), decode).map_err(TraceError::Thread)?);
            work.push(to_decode);
            decoders.push(ready);
        }
        let waits = !reader.can_repeat();
        let busy = stages.read.clone();
        let read = move || {
            let result = read_all(reader, &work);
            busy.add_this_thread();
            result
        };
        let reading = named("read", read).map_err(TraceError::Thread)?;
        Ok(Pipeline { decoders, turn: 0, reading, decoding, waits, stages: stages.clone() })
    }

    /// The next batch of the trace. `None` at the end, or where reading failed: [`Pipeline::end`] tells.
    #[allow(clippy::should_implement_trait)] // An iterator would hide that `end` must be asked.
    pub fn next(&mut self) -> Option<Ready> {
        let ready = self.decoders[self.turn].recv().ok()?;
        self.turn = (self.turn + 1) % self.decoders.len();
        Some(ready)
    }

    /// Ends the threads, wherever they are. What the files say of themselves, as far as they were read; `None` if one
    /// is a pipe of which not all was asked for: nobody knows when it goes on.
    pub fn end(self, was_all: bool) -> Result<Option<Summary>, TraceError> {
        let Pipeline { decoders, reading, decoding, waits, stages, .. } = self;
        drop(decoders);
        if waits && !was_all {
            stages.read.give_up();
            stages.decode.give_up();
            return Ok(None);
        }
        decoding.into_iter().for_each(finish);
        finish(reading).map(Some)
    }
}

fn named<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// A panic goes on where somebody sees it.
fn finish<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read_all(mut reader: Reader, decoders: &[SyncSender<Batch>]) -> Result<Summary, TraceError> {
    for decoder in decoders.iter().cycle() {
        let Some(batch) = reader.next()? else { break };
        if decoder.send(batch).is_err() {
            // Nobody decodes any more: enough was seen.
            break;
        }
    }
    reader.summary()
}

fn decode_all(decoder: &Decoder, hash: FlowHash, shards: u32, batches: &Receiver<Batch>, to: &SyncSender<Ready>) {
    for batch in batches {
        let decoded = decoder.decode(batch);
        let shard = |packet: &Packet| hash.shard(&packet.flow_key(), shards) as u16;
        let shards = decoded.packets.iter().map(shard).collect();
        if to.send(Ready { decoded, shards }).is_err() {
            return;
        }
    }
}
