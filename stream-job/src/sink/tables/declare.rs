//! Declares a table's columns once: as fields, as names and types, and as what a Native block writes.

/// `columns! { struct Name { field: ColumnType = "column_name", … } }`
macro_rules! columns {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($field:ident : $column:ty = $sql:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        $vis struct $name { $($field: $column),* }

        impl $name {
            const COLUMNS: &'static [(&'static str, &'static str)] =
                &[$(($sql, <$column as $crate::sink::native::Column>::TYPE)),*];

            fn total_bytes(&self) -> usize {
                use $crate::sink::native::Column;
                0 $(+ self.$field.total_bytes())*
            }

            fn row_bytes(&self, row: u32) -> usize {
                use $crate::sink::native::Column;
                0 $(+ self.$field.row_bytes(row as usize))*
            }

            fn write_native(&mut self, rows: &[u32], out: &mut Vec<u8>) {
                use $crate::sink::native::{Column, put_block_header, put_column_header};
                put_block_header(out, Self::COLUMNS.len(), rows.len());
                $(
                    put_column_header(out, $sql, <$column as Column>::TYPE);
                    self.$field.write(rows, out);
                )*
            }

            fn clear(&mut self) {
                use $crate::sink::native::Column;
                $(self.$field.clear();)*
            }
        }
    };
}

/// Implements the parts of [`Table`](super::Table) that follow from a builder's `columns` field.
macro_rules! table_of_columns {
    ($columns:ty, $name:literal, $first:ident) => {
        fn name(&self) -> &'static str {
            $name
        }

        fn columns(&self) -> &'static [(&'static str, &'static str)] {
            <$columns>::COLUMNS
        }

        fn len(&self) -> usize {
            $crate::sink::native::Column::len(&self.columns.$first)
        }

        fn total_bytes(&self) -> usize {
            self.columns.total_bytes()
        }

        fn row_bytes(&self, row: u32) -> usize {
            self.columns.row_bytes(row)
        }

        fn write_native(&mut self, rows: &[u32], out: &mut Vec<u8>) {
            self.columns.write_native(rows, out);
        }
    };
}

/// Declares a row struct and its columns side by side. The key's fields come first, so that the derived order is by
/// the key; `rev` and `is_deleted` are added.
macro_rules! row_table {
    (
        $(#[$doc:meta])*
        pub struct $row:ident => $columns:ident, key ($($key:ident),*) {
            $($(#[$field_doc:meta])* $field:ident : $rust:ty => $column:ty = $sql:literal),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
            serde::Serialize, serde::Deserialize,
        )]
        pub struct $row {
            $($(#[$field_doc])* pub $field: $rust,)*
            /// Epoch of the change: the newest replaces the ones before.
            pub rev: u64,
            /// Whether the row is taken back.
            pub is_deleted: bool,
        }

        columns! {
            /// The columns that the rows are written to.
            pub struct $columns {
                $($field: $column = $sql,)*
                rev: $crate::sink::native::Fixed<u64> = "rev",
                is_deleted: $crate::sink::native::Fixed<u8> = "is_deleted",
            }
        }

        impl $crate::sink::tables::rows::Sealed for $columns {}

        impl $crate::sink::tables::rows::RowColumns for $columns {
            fn total_bytes(&self) -> usize {
                $columns::total_bytes(self)
            }
            fn row_bytes(&self, row: u32) -> usize {
                $columns::row_bytes(self, row)
            }
            fn write_native(&mut self, rows: &[u32], out: &mut Vec<u8>) {
                $columns::write_native(self, rows, out);
            }
            fn clear(&mut self) {
                $columns::clear(self);
            }
        }

        impl $crate::sink::tables::Keyed for $row {
            type Columns = $columns;
            const COLUMNS: &'static [(&'static str, &'static str)] = $columns::COLUMNS;

            fn same_key(&self, other: &Self) -> bool {
                true $(&& self.$key == other.$key)*
            }

            fn key_order(&self, other: &Self) -> std::cmp::Ordering {
                std::cmp::Ordering::Equal $(.then_with(|| self.$key.cmp(&other.$key)))*
            }

            fn rev(&self) -> u64 {
                self.rev
            }

            fn is_deleted(&self) -> bool {
                self.is_deleted
            }

            fn append_to(&self, columns: &mut $columns) {
                use $crate::sink::native::Append;
                $(columns.$field.append(&self.$field);)*
                columns.rev.push(self.rev);
                columns.is_deleted.push(u8::from(self.is_deleted));
            }
        }
    };
}
