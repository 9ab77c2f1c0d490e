//! A metric point as it lands.

use std::borrow::Cow;

use super::{Distribution, MetricView, PointValue, PointView};
use crate::span::agent;
use crate::span::view::{Attr, ResourceView, Value};

/// One clean point. Times are µs since 1970; texts are empty where nothing is known.
#[derive(Clone, Debug)]
pub struct CleanPoint<'a> {
    /// `service.namespace`.
    pub namespace: Cow<'a, str>,
    /// The agent, as of a span that names none itself.
    pub agent: Cow<'a, str>,
    /// `service.name` as sent.
    pub service_name: Cow<'a, str>,
    /// Which process of the agent: see [`instance`].
    pub instance: Cow<'a, str>,
    /// The metric.
    pub metric: &'a MetricView<'a>,
    /// The point.
    pub point: &'a PointView<'a>,
    /// The resource's attributes in the order sent.
    pub resource: &'a [Attr<'a>],
    /// Start of the interval; 0 where none was sent.
    pub start_us: i64,
    /// Time of the point, its event time.
    pub time_us: i64,
}

impl<'a> CleanPoint<'a> {
    /// Makes the clean point of one that has passed validation.
    #[must_use]
    pub fn of(
        resource: &'a ResourceView<'a>,
        metric: &'a MetricView<'a>,
        point: &'a PointView<'a>,
    ) -> Self {
        let text = |key| text_of(&resource.attributes, key).unwrap_or_default();
        let (namespace, service_name) = (text("service.namespace"), text("service.name"));
        Self {
            agent: agent(&namespace, &service_name, &Cow::Borrowed("")),
            namespace,
            service_name,
            instance: instance(resource),
            metric,
            point,
            resource: &resource.attributes,
            // 2^64 ns are 2^54 µs: an i64 holds them.
            start_us: (point.start_time_unix_nano / 1_000).cast_signed(),
            time_us: (point.time_unix_nano / 1_000).cast_signed(),
        }
    }

    /// The value of a gauge or a sum; of a histogram or summary its sum.
    #[must_use]
    pub fn value(&self) -> f64 {
        match &self.point.value {
            PointValue::Missing => 0.0,
            #[expect(clippy::cast_precision_loss, reason = "the table has doubles")]
            PointValue::Int(number) => *number as f64,
            PointValue::Double(number) => *number,
            PointValue::Distribution(of) => of.sum,
        }
    }

    /// The measurements of a histogram or summary.
    #[must_use]
    pub fn distribution(&self) -> Option<&Distribution> {
        match &self.point.value {
            PointValue::Distribution(of) => Some(of),
            _ => None,
        }
    }
}

/// Which process it is: `service.instance.id`, else `host.name:process.pid` or the one of the two that there is.
#[must_use]
pub fn instance<'a>(resource: &'a ResourceView<'a>) -> Cow<'a, str> {
    let text = |key| text_of(&resource.attributes, key);
    if let Some(id) = text("service.instance.id") {
        return id;
    }
    match (text("host.name"), text("process.pid")) {
        (Some(host), Some(process)) => Cow::Owned(format!("{host}:{process}")),
        (one, other) => one.or(other).unwrap_or_default(),
    }
}

/// The last value of a key, where it is not empty.
fn text_of<'a>(attributes: &'a [Attr<'a>], key: &str) -> Option<Cow<'a, str>> {
    let found = attributes.iter().rev().find(|attr| attr.key == key)?;
    Some(&found.value)
        .filter(|value| !matches!(value, Value::Empty))
        .map(Value::text)
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(attributes: &[(&'static str, &'static str)]) -> ResourceView<'static> {
        let attr = |(key, value): &(&'static str, &'static str)| Attr {
            key: Cow::Borrowed(*key),
            value: Value::Str(Cow::Borrowed(*value)),
        };
        ResourceView {
            attributes: attributes.iter().map(attr).collect(),
        }
    }

    #[test]
    fn the_instance_is_its_id_else_host_and_process() {
        let id = [
            ("service.instance.id", "i"),
            ("host.name", "h"),
            ("process.pid", "7"),
        ];
        assert_eq!(instance(&resource(&id)), "i");
        assert_eq!(instance(&resource(&id[1..])), "h:7");
        assert_eq!(instance(&resource(&id[1..2])), "h");
        assert_eq!(instance(&resource(&id[2..])), "7");
        assert_eq!(instance(&resource(&[("service.instance.id", "")])), "");
    }

    #[test]
    fn the_agent_is_that_of_a_span_of_the_same_resource() {
        let (metric, point) = (MetricView::default(), PointView::default());
        let agent_of = |attributes: &[(&'static str, &'static str)]| {
            let resource = resource(attributes);
            CleanPoint::of(&resource, &metric, &point).agent.to_string()
        };
        assert_eq!(agent_of(&[("service.name", "jolly")]), "jolly");
        let both = [("service.namespace", "shop"), ("service.name", "jolly")];
        assert_eq!(agent_of(&both), "shop/jolly");
        assert_eq!(
            agent_of(&[("service.name", "unknown_service:python")]),
            "unknown"
        );
    }
}
