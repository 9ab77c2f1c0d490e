#![allow(clippy::unwrap_used)]

use timely::dataflow::channels::pact::{Exchange, Pipeline};

use super::*;
use crate::dataflow::fixtures::{record, run_epochs};

fn records(epochs: std::ops::Range<Epoch>) -> Vec<EpochRecord> {
    epochs.map(|epoch| record(epoch, 0)).collect()
}

#[test]
fn an_operator_acts_in_every_epoch_in_order_with_or_without_data() {
    for workers in [1, 3] {
        let out = run_epochs(
            workers,
            records(1_000..1_010),
            |_, epoch| if epoch % 4 == 1 { vec![epoch] } else { vec![] },
            |stream, epochs| {
                stream.per_epoch(Pipeline, "count", epochs, |record, data: Vec<u64>| {
                    assert!(data.iter().all(|&epoch| epoch == record.epoch));
                    vec![data.len()]
                })
            },
        );
        let expected: Vec<_> = (1_000..1_010)
            .map(|epoch| (epoch, usize::from(epoch % 4 == 1)))
            .collect();
        assert_eq!(out, vec![expected; workers]);
    }
}

#[test]
fn an_epoch_is_complete_only_with_the_data_of_all_workers() {
    let out = run_epochs(
        3,
        records(5..30),
        |worker, epoch| vec![(worker as u64 + 1) * epoch; worker * 100],
        |stream, epochs| {
            let to_one = Exchange::new(|_: &u64| 1);
            stream.per_epoch(to_one, "sum", epochs, |_, data| {
                vec![(data.len() as u64, data.iter().sum::<u64>())]
            })
        },
    );
    let all = |epoch| (epoch, (300, 100 * 2 * epoch + 200 * 3 * epoch));
    assert_eq!(out[1], (5..30).map(all).collect::<Vec<_>>());
    let none = |epoch| (epoch, (0, 0));
    assert_eq!(out[0], (5..30).map(none).collect::<Vec<_>>());
}

#[test]
fn operators_in_a_row_keep_the_epochs() {
    let out = run_epochs(
        2,
        records(7..12),
        |worker, epoch| vec![epoch + worker as u64],
        |stream, epochs| {
            stream
                .per_epoch(
                    Exchange::new(|n: &u64| *n),
                    "one",
                    epochs,
                    |record, data| data.into_iter().map(|n| (record.epoch, n)).collect(),
                )
                .per_epoch(
                    Exchange::new(|_: &(Epoch, u64)| 0),
                    "two",
                    epochs,
                    |record, mut data: Vec<(Epoch, u64)>| {
                        data.sort_unstable();
                        assert!(data.iter().all(|(epoch, _)| *epoch == record.epoch));
                        data.into_iter().map(|(_, n)| n).collect()
                    },
                )
        },
    );
    let expected: Vec<_> = (7..12)
        .flat_map(|epoch| [(epoch, epoch), (epoch, epoch + 1)])
        .collect();
    assert_eq!(out, [expected, vec![]]);
}

#[test]
fn a_table_finds_records_by_epoch_and_forgets_from_below() {
    let table = EpochTable::default();
    assert!(table.get(5).is_none() && table.next_from(0).is_none());
    records(5..8)
        .into_iter()
        .for_each(|one| table.push(Arc::new(one)));
    let epoch = |found: Option<Arc<EpochRecord>>| found.map(|record| record.epoch);
    assert_eq!(epoch(table.get(4)), None);
    assert_eq!(epoch(table.get(7)), Some(7));
    assert_eq!(epoch(table.get(8)), None);
    assert_eq!(epoch(table.next_from(0)), Some(5));
    assert_eq!(epoch(table.next_from(8)), None);
    table.forget_below(7);
    assert_eq!(
        (epoch(table.get(6)), epoch(table.next_from(0))),
        (None, Some(7))
    );
    table.forget_below(100);
    assert_eq!(epoch(table.next_from(0)), None);
}

#[test]
#[should_panic(expected = "epochs follow each other without a gap")]
fn a_table_refuses_a_gap() {
    let table = EpochTable::default();
    table.push(Arc::new(record(5, 0)));
    table.push(Arc::new(record(7, 0)));
}

#[test]
fn the_first_message_of_an_epoch_is_taken_whole_and_later_ones_are_added() {
    let mut stash = BTreeMap::new();
    for (epoch, data) in [(2, vec![1, 2]), (1, vec![9]), (2, vec![3])] {
        let mut data = data;
        stash_at(&mut stash, epoch, &mut data);
        assert!(data.is_empty());
    }
    assert_eq!(stash, [(1, vec![9]), (2, vec![1, 2, 3])].into());
}
