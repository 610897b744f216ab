//! Why something was not carried out, at each door: one code and one message everywhere.

use http::StatusCode;
use roomcast_proto::api;
use tonic::metadata::MetadataValue;
use tonic::{Code as Grpc, Status};

use crate::socketio::{Code, Refusal};

/// The gRPC metadata that names the code.
pub(crate) const CODE_METADATA: &str = "roomcast-code";

/// There is no such thing.
pub(crate) fn not_found(message: &'static str) -> Refusal {
    Refusal::new(Code::Other("not_found"), message)
}

/// Nobody knows who asks.
pub(crate) fn unauthenticated(message: &'static str) -> Refusal {
    Refusal::new(Code::Other("unauthenticated"), message)
}

/// As part of an answer.
pub(crate) fn error_of(refusal: &Refusal) -> api::Error {
    api::Error {
        code: refusal.code.word().to_owned(),
        message: refusal.message.to_string(),
    }
}

/// As the end of a gRPC call. A status that stock clients retry by themselves, `UNAVAILABLE`, is
/// only given where surely nothing was written.
pub(crate) fn refusal_status(refusal: &Refusal) -> Status {
    let code = match refusal.code {
        Code::Invalid | Code::TooLarge => Grpc::InvalidArgument,
        Code::UnknownEvent => Grpc::Unimplemented,
        Code::Forbidden => Grpc::PermissionDenied,
        Code::Overloaded => Grpc::ResourceExhausted,
        Code::Unavailable => Grpc::Unavailable,
        // gRPC's own words for it: perhaps carried out.
        Code::UnknownOutcome | Code::Timeout => Grpc::DeadlineExceeded,
        Code::KeyReused => Grpc::FailedPrecondition,
        Code::Internal => Grpc::Internal,
        Code::Other("unauthenticated") => Grpc::Unauthenticated,
        Code::Other("not_found") => Grpc::NotFound,
        Code::Other(_) => Grpc::Unknown,
    };
    let mut status = Status::new(code, refusal.message.to_string());
    let word = MetadataValue::from_static(refusal.code.word());
    status.metadata_mut().insert(CODE_METADATA, word);
    status
}

/// The status of an HTTP answer.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::Forbidden => StatusCode::FORBIDDEN,
        Code::UnknownEvent | Code::Other("not_found") => StatusCode::NOT_FOUND,
        Code::KeyReused => StatusCode::CONFLICT,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Overloaded | Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::UnknownOutcome | Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::Other("unauthenticated") => StatusCode::UNAUTHORIZED,
        Code::Internal | Code::Other(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
