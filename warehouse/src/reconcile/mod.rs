//! Checks that the counts of the layers agree, up to the last epoch that has landed (`ops_epoch`).
//!
//! The checks are SQL files (`warehouse/sql/reconcile`), each giving rows of name, left, right, difference and an example.
//! A difference is summed over the single records, epochs or window keys, so that two wrongs can't cancel out. What a
//! time to live may have cut away is left out, and named.

mod bounds;

use serde::Deserialize;

use crate::client::{self, Client, ClientOptions};
use bounds::Bounds;

/// Checks of the layers below the windows.
const LAYERS: [&str; 15] = [
    include_str!("../../sql/reconcile/records.sql"),
    include_str!("../../sql/reconcile/epoch_spans.sql"),
    include_str!("../../sql/reconcile/split.sql"),
    include_str!("../../sql/reconcile/landed.sql"),
    include_str!("../../sql/reconcile/epoch_landed.sql"),
    include_str!("../../sql/reconcile/late.sql"),
    include_str!("../../sql/reconcile/rejected.sql"),
    include_str!("../../sql/reconcile/undecodable.sql"),
    include_str!("../../sql/reconcile/once_record.sql"),
    include_str!("../../sql/reconcile/once_span.sql"),
    include_str!("../../sql/reconcile/once_epoch.sql"),
    include_str!("../../sql/reconcile/points_split.sql"),
    include_str!("../../sql/reconcile/points_landed.sql"),
    include_str!("../../sql/reconcile/points_rejected.sql"),
    include_str!("../../sql/reconcile/once_point.sql"),
];
const TOPIC: &str = include_str!("../../sql/reconcile/topic.sql");
const STEPS: &str = include_str!("../../sql/reconcile/steps.sql");
const RESOURCES: &str = include_str!("../../sql/reconcile/resources.sql");
const USERS: &str = include_str!("../../sql/reconcile/users.sql");

/// The windowed tables: name, width and hop in seconds.
const WINDOWS: [(&str, &str, &str); 3] = [
    ("dws_step_1m", "60", "60"),
    ("dws_step_5m", "300", "60"),
    ("dws_step_1h", "3600", "3600"),
];

/// What to compare besides the tables themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconcileOptions {
    /// Everything that was sent has been worked off: compare all windows, not only the final ones.
    pub drained: bool,
    /// Records that were sent, by topic.
    pub topic_counts: Vec<(String, u64)>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Check {
    /// What is compared, as `left = right`.
    pub name: String,
    /// Total on the left.
    pub left: u64,
    /// Total on the right.
    pub right: u64,
    /// Sum of the single differences, each as an absolute number.
    pub difference: u64,
    /// Where the greatest single difference is; empty when there is none.
    pub example: String,
}

/// What was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciliation {
    /// The last epoch that has landed: nothing beyond it was looked at.
    pub last_epoch: u64,
    /// The comparisons.
    pub checks: Vec<Check>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

impl Reconciliation {
    /// Whether every comparison came out equal.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.checks.iter().all(|check| check.difference == 0)
    }
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The warehouse could not be asked.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// No epoch has landed.
    #[error(
        "nothing to compare: no epoch has landed in database `{0}` yet (ops_epoch is empty); is the stream job running?"
    )]
    NothingLanded(String),
}

/// Runs every check.
///
/// # Errors
/// See [`ReconcileError`]. Counts that disagree are no error: see [`Reconciliation::agrees`].
pub async fn reconcile(
    options: &ClientOptions,
    wanted: &ReconcileOptions,
) -> Result<Reconciliation, ReconcileError> {
    let client = Client::new(options);
    client.version().await?;
    let last_epoch = last_epoch(&client)
        .await?
        .ok_or_else(|| ReconcileError::NothingLanded(options.database.clone()))?;
    let epoch = last_epoch.to_string();
    let mut bounds = Bounds::read(&client, &epoch).await?;
    let mut checks = Vec::new();
    let layers = [
        ("last_epoch", &*epoch),
        ("ods_from", &bounds.ods_from),
        ("dwd_from", &bounds.dwd_from),
        ("points_from", &bounds.points_from),
    ];
    for sql in LAYERS {
        checks.extend(client.rows::<Check>(sql, &layers).await?);
    }
    for (topic, records) in &wanted.topic_counts {
        let records = records.to_string();
        let parameters = [
            ("last_epoch", &*epoch),
            ("topic", topic),
            ("records", &records),
        ];
        checks.extend(client.rows::<Check>(TOPIC, &parameters).await?);
    }
    let drained = if wanted.drained { "true" } else { "false" };
    for (table, width, hop) in WINDOWS {
        let latest = format!("{table}_latest");
        let window_from = bounds.window_from(&client, table).await?;
        let parameters = [
            ("last_epoch", &*epoch),
            ("latest", &latest),
            ("width", width),
            ("hop", hop),
            ("window_from", &window_from),
            ("drained", drained),
        ];
        let compared = client.rows::<Check>(STEPS, &parameters).await?;
        if compared.is_empty() {
            let note = format!("{table}: there is no window yet that can be compared");
            bounds.left_out.push(note);
        }
        checks.extend(compared);
    }
    let window_from = bounds.resources_from(&client).await?;
    let parameters = [
        ("last_epoch", &*epoch),
        ("window_from", &window_from),
        ("drained", drained),
    ];
    checks.extend(client.rows::<Check>(RESOURCES, &parameters).await?);
    checks.extend(users(&client, &mut bounds, wanted.drained).await?);
    Ok(Reconciliation {
        last_epoch,
        checks,
        left_out: bounds.left_out,
    })
}

/// Users' days against the traces. Both are of one block, but the blocks of two tables land one after the other.
async fn users(
    client: &Client,
    bounds: &mut Bounds,
    drained: bool,
) -> Result<Vec<Check>, client::Error> {
    let mut compared = Vec::new();
    if drained {
        let day_from = bounds.day_from(client).await?;
        compared = (client.rows(USERS, &[("day_from", &day_from)])).await?;
    }
    if compared.is_empty() {
        let why = if drained {
            "there is no user's day that can be compared"
        } else {
            "compared once all is drained"
        };
        bounds.left_out.push(format!("dws_user_1d: {why}"));
    }
    Ok(compared)
}

async fn last_epoch(client: &Client) -> Result<Option<u64>, client::Error> {
    #[derive(Deserialize)]
    struct Last {
        epochs: u64,
        last: u64,
    }
    let sql = "SELECT count() AS epochs, max(epoch) AS last FROM ops_epoch";
    let rows: Vec<Last> = client.rows(sql, &[]).await?;
    Ok(rows
        .first()
        .filter(|row| row.epochs > 0)
        .map(|row| row.last))
}
