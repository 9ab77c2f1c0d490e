//! The part of libchdb's C interface that is used here, bound at run time.
//!
//! The declarations follow libchdb 26.7; every pointer type is opaque on the C side.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

use super::EngineError;

/// `chdb_connection`: a pointer to a struct with one internal pointer.
pub(crate) type RawConnection = *mut c_void;
/// `chdb_result *`.
pub(crate) type RawResult = *mut c_void;
/// `chdb_insert_stream`.
pub(crate) type RawInsert = *mut c_void;

/// Query, length, format, length, then the names, values and number of the parameters.
type WithParams<R> = unsafe extern "C" fn(
    RawConnection,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> R;

/// What `chdb_classify_query_n` says of a text (`chdb_query_analysis_v1`).
#[repr(C)]
#[derive(Default)]
pub(crate) struct RawAnalysis {
    pub(crate) struct_size: u32,
    pub(crate) statement_count: u32,
    pub(crate) flags: u32,
    pub(crate) query_class: u32,
}

macro_rules! api {
    ($($field:ident: $symbol:literal: $kind:ty;)*) => {
        /// The functions of libchdb. They stay valid as long as `_library` is loaded, which is for ever: it is leaked.
        pub(crate) struct Api {
            $(pub(crate) $field: $kind,)*
        }

        impl Api {
            /// Loads the library at `path` and binds every function.
            pub(crate) fn load(path: &Path) -> Result<Self, EngineError> {
                let failed = |source| EngineError::Load { path: path.to_owned(), source };
                // SAFETY: libchdb's initialisers have no precondition of ours.
                let library = unsafe { Library::new(path) }.map_err(failed)?;
                // Its threads outlive every handle of ours, so it must never be unmapped.
                let library: &'static Library = Box::leak(Box::new(library));
                // SAFETY: the types are those of chdb.h for these symbols.
                Ok(Self { $($field: *unsafe { library.get::<$kind>($symbol) }.map_err(failed)?,)* })
            }
        }
    };
}

api! {
    set_signal_handlers: b"chdb_set_signal_handlers_enabled\0": unsafe extern "C" fn(c_int);
    connect: b"chdb_connect\0": unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut RawConnection;
    close: b"chdb_close_conn\0": unsafe extern "C" fn(*mut RawConnection);
    query: b"chdb_query_with_params_n\0": WithParams<RawResult>;
    stream: b"chdb_stream_query_with_params_n\0": WithParams<RawResult>;
    stream_fetch: b"chdb_stream_fetch_result\0": unsafe extern "C" fn(RawConnection, RawResult) -> RawResult;
    stream_cancel: b"chdb_stream_cancel_query\0": unsafe extern "C" fn(RawConnection, RawResult);
    insert: b"chdb_stream_insert_with_params_n\0": WithParams<RawInsert>;
    insert_append: b"chdb_stream_append\0": unsafe extern "C" fn(RawInsert, *const c_void, usize) -> c_int;
    insert_done: b"chdb_stream_done\0": unsafe extern "C" fn(RawInsert) -> RawResult;
    insert_cancel: b"chdb_stream_cancel_insert\0": unsafe extern "C" fn(RawInsert);
    insert_error: b"chdb_stream_insert_error\0": unsafe extern "C" fn(RawInsert) -> *const c_char;
    insert_destroy: b"chdb_destroy_insert_stream\0": unsafe extern "C" fn(RawInsert);
    classify: b"chdb_classify_query_n\0":
        unsafe extern "C" fn(RawConnection, *const c_char, usize, *const c_char, usize, *mut RawAnalysis) -> c_int;
    result_destroy: b"chdb_destroy_query_result\0": unsafe extern "C" fn(RawResult);
    result_buffer: b"chdb_result_buffer\0": unsafe extern "C" fn(RawResult) -> *mut c_char;
    result_length: b"chdb_result_length\0": unsafe extern "C" fn(RawResult) -> usize;
    result_error: b"chdb_result_error\0": unsafe extern "C" fn(RawResult) -> *const c_char;
    result_rows: b"chdb_result_rows_read\0": unsafe extern "C" fn(RawResult) -> u64;
    result_bytes: b"chdb_result_bytes_read\0": unsafe extern "C" fn(RawResult) -> u64;
    result_storage_rows: b"chdb_result_storage_rows_read\0": unsafe extern "C" fn(RawResult) -> u64;
    result_storage_bytes: b"chdb_result_storage_bytes_read\0": unsafe extern "C" fn(RawResult) -> u64;
    result_rows_written: b"chdb_result_rows_written\0": unsafe extern "C" fn(RawResult) -> u64;
    result_bytes_written: b"chdb_result_bytes_written\0": unsafe extern "C" fn(RawResult) -> u64;
}
