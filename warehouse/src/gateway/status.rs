//! Which HTTP status an exception has, as ClickHouse maps them (`exceptionCodeToHTTPStatus`).

use axum::http::StatusCode;

/// The status for an exception's code.
pub(crate) fn http_status(code: u32) -> StatusCode {
    match code {
        // REQUIRED_PASSWORD
        194 => StatusCode::UNAUTHORIZED,
        // UNKNOWN_USER, WRONG_PASSWORD, AUTHENTICATION_FAILED, SET_NON_GRANTED_ROLE
        192 | 193 | 516 | 512 => StatusCode::FORBIDDEN,
        // BAD_ARGUMENTS, CANNOT_PARSE_*, DUPLICATE_COLUMN, ILLEGAL_COLUMN, AST errors, SYNTAX_ERROR, INCORRECT_DATA,
        // TYPE_MISMATCH, VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        36 | 427 | 6 | 25 | 26 | 38 | 41 | 72 | 441 | 675 | 676 | 27 | 376 | 15 | 44 | 223
        | 224 | 167 | 168 | 62 | 117 | 53 | 321 => StatusCode::BAD_REQUEST,
        // UNKNOWN_TABLE, _FUNCTION, _IDENTIFIER, _TYPE, _STORAGE, _DATABASE, _SETTING, _DIRECTION_OF_SORTING,
        // _AGGREGATE_FUNCTION, _FORMAT, _DATABASE_ENGINE, _TYPE_OF_QUERY, NO_ELEMENTS_IN_CONFIG
        60 | 46 | 47 | 50 | 56 | 81 | 115 | 61 | 63 | 73 | 336 | 78 | 139 => StatusCode::NOT_FOUND,
        // QUERY_IS_TOO_LARGE
        66 => StatusCode::PAYLOAD_TOO_LARGE,
        // NOT_IMPLEMENTED
        48 => StatusCode::NOT_IMPLEMENTED,
        // SOCKET_TIMEOUT, CANNOT_OPEN_FILE, and, other than in ClickHouse, TOO_MANY_SIMULTANEOUS_QUERIES: come again
        209 | 76 | 202 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
