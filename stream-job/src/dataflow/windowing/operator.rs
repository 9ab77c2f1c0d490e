//! [`KeyedWindows`] as an operator.

use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;

use super::keyed::{Accumulator, Event, KeyedWindows, Told};
use crate::dataflow::epochs::{Epoch, EpochTable, PerEpoch};

/// Groups a keyed stream by windows.
pub trait WindowByKey<'scope, K, A> {
    /// Sends each event to the worker that owns its key, and tells of the windows there. `windows` must be new on every
    /// worker, and `owner` a hash that is the same in every run.
    fn window_by_key(
        self,
        name: &str,
        windows: KeyedWindows<K, A>,
        owner: impl Fn(&K) -> u64 + 'static,
        epochs: &EpochTable,
    ) -> StreamVec<'scope, Epoch, Told<K, A>>;
}

impl<'scope, K, A> WindowByKey<'scope, K, A> for StreamVec<'scope, Epoch, Event<K, A>>
where
    K: Ord + Clone + ExchangeData,
    A: Accumulator + ExchangeData,
{
    fn window_by_key(
        self,
        name: &str,
        mut windows: KeyedWindows<K, A>,
        owner: impl Fn(&K) -> u64 + 'static,
        epochs: &EpochTable,
    ) -> StreamVec<'scope, Epoch, Told<K, A>> {
        let by_key = Exchange::new(move |event: &Event<K, A>| owner(&event.key));
        self.per_epoch(by_key, name, epochs, move |record, events| {
            windows.apply(record.watermark_us, events, record.dws_block_ends)
        })
    }
}
