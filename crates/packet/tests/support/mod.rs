//! What the tests against libpcap share.

pub mod classic;
pub mod expressions;
pub mod oracle;
pub mod packets;
pub mod random;

use skep_bpf::target::{Answer, Question, Target, TargetError};

/// This machine's files, which libpcap reads as well.
pub struct Files;

impl Target for Files {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        let Question::File(path) = question else {
            return Err(TargetError::Unknown(format!("{question:?}")));
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Answer::Text(text.into())),
            Err(_) => Err(TargetError::NotFound(path.clone())),
        }
    }
}
