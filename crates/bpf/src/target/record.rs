//! Recording: every answer of a target is kept, and replays to the same bytes of compiled program.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Answer, Question, Target, TargetError};

/// Questions with what was answered.
type Answers = BTreeMap<Question, Result<Answer, TargetError>>;

/// A target that passes questions on to another and keeps the answers, refusals included.
pub struct Recorder<T> {
    inner: T,
    answers: Mutex<Answers>,
}

impl<T: Target> Recorder<T> {
    /// Records what `inner` answers.
    pub fn new(inner: T) -> Recorder<T> {
        Recorder { inner, answers: Mutex::default() }
    }

    /// What has been asked so far.
    pub fn recorded(&self) -> Recorded {
        Recorded { answers: self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    /// The target that is recorded.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

impl<T: Target> Target for Recorder<T> {
    /// The first answer to a question is given again when it comes again: a recording cannot contradict the run.
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        let known = |answers: &Answers| answers.get(question).cloned();
        if let Some(answer) = known(&self.answers.lock().unwrap_or_else(PoisonError::into_inner)) {
            return answer;
        }
        let answer = self.inner.ask(question);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.entry(question.clone()).or_insert(answer).clone()
    }
}

/// A target that knows what was recorded, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    pub(super) answers: Answers,
}

impl Recorded {
    /// Nothing recorded.
    pub fn new() -> Recorded {
        Recorded::default()
    }

    /// Adds or replaces an answer: for targets made by hand.
    pub fn set(&mut self, question: Question, answer: Result<Answer, TargetError>) {
        self.answers.insert(question, answer);
    }

    /// The questions that have an answer, sorted.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        self.answers.keys()
    }
}

impl Target for Recorded {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        match self.answers.get(question) {
            Some(answer) => answer.clone(),
            None => Err(TargetError::Unknown(format!("{question:?} (not in the recording)"))),
        }
    }
}

#[cfg(test)]
mod tests;
