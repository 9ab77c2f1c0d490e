//! The buffers that a walker keeps between spans and payloads.

use crate::span::view::{Attr, ResourceView, ScopeView, SpanView};

/// One view of each kind, reused, and attribute lists for events and links to take.
#[derive(Debug, Default)]
pub(super) struct Scratch<'a> {
    pub(super) resource: ResourceView<'a>,
    pub(super) scope: ScopeView<'a>,
    pub(super) span: SpanView<'a>,
    lists: Vec<Vec<Attr<'a>>>,
}

/// Empties a vector and gives its memory to one of another lifetime. `collect` from a vector's own iterator reuses
/// the allocation where the element types have the same layout; were that ever to change, only speed would suffer.
fn recycle<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    list.into_iter()
        .map(|_| unreachable!("the list was just cleared"))
        .collect()
}

impl<'a> Scratch<'a> {
    pub(super) fn recycle<'b>(mut self) -> Scratch<'b> {
        self.clear_span();
        Scratch {
            resource: ResourceView {
                attributes: recycle(self.resource.attributes),
            },
            scope: ScopeView::default(),
            span: SpanView {
                attributes: recycle(self.span.attributes),
                events: recycle(self.span.events),
                links: recycle(self.span.links),
                ..SpanView::default()
            },
            lists: self.lists.into_iter().map(recycle).collect(),
        }
    }

    /// Makes the span empty but for the memory of its lists.
    #[inline]
    pub(super) fn clear_span(&mut self) {
        let mut attributes = std::mem::take(&mut self.span.attributes);
        let mut events = std::mem::take(&mut self.span.events);
        let mut links = std::mem::take(&mut self.span.links);
        attributes.clear();
        self.lists
            .extend(events.drain(..).map(|event| event.attributes));
        self.lists
            .extend(links.drain(..).map(|link| link.attributes));
        self.span = SpanView {
            attributes,
            events,
            links,
            ..SpanView::default()
        };
    }

    /// A list for an event or link to fill.
    pub(super) fn empty_list(&mut self) -> Vec<Attr<'a>> {
        let mut list = self.lists.pop().unwrap_or_default();
        list.clear();
        list
    }
}
