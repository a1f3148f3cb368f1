//! Functions by the names that programmers give them: `uprobe:BINARY:cpp:"ns::f"`. A language and a name or pattern
//! enter; the functions whose demangled name it matches leave. Parameters count only where the pattern has some: a name
//! of C++ may stand for several functions.

use super::tracing::cannot;
use super::{Fault, Instance, Resolver, Spec};
use crate::ast::Span;
use crate::diag::Diagnostic;
use crate::suggest;
use skep_bpf::target::{Symbol, Target, TargetError, TargetExt};
use skep_bpf::wildcard;

/// Languages, and how the names of their symbols begin.
const LANGUAGES: [(&str, &[&str]); 2] = [("cpp", &["_Z", "____Z"]), ("rust", &["_R", "_ZN"])];

/// Whether a word is a language that names can be of.
pub(crate) fn is_language(word: &str) -> bool {
    LANGUAGES.iter().any(|(name, _)| *name == word)
}

/// The language and the name of `LANGUAGE:"NAME"`.
pub(crate) fn quoted(text: &str) -> Option<(&str, &str)> {
    let (language, name) = text.split_once(':').filter(|(word, _)| is_language(word))?;
    Some((language, name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).unwrap_or(name)))
}

/// The name without the parameters at its end.
fn without_parameters(name: &str) -> &str {
    let Some(close) = name.rfind(')') else { return name };
    let mut open = 0usize;
    for (at, c) in name[..=close].char_indices().rev() {
        match c {
            ')' => open += 1,
            '(' => open = open.saturating_sub(1),
            _ => {}
        }
        if open == 0 {
            return &name[..at];
        }
    }
    name
}

/// Functions of the binary at `path` that match, each with its demangled name; those without one by their own.
pub(crate) fn find(
    target: &dyn Target,
    path: &str,
    language: &str,
    pattern: &str,
) -> Result<Vec<(Symbol, Option<String>)>, TargetError> {
    let prefixes = LANGUAGES.iter().find(|(name, _)| *name == language).map_or(&[][..], |(_, p)| p);
    let symbols = target.binary_symbols(path)?;
    let demangled = target.demangled_symbols(path)?;
    let whole = pattern.contains('(');
    let matches =
        |name: &str| wildcard::matches(pattern, if whole { name } else { without_parameters(name) });
    let mut by_address: Vec<&Symbol> = demangled.iter().filter(|s| matches(&s.name)).collect();
    by_address.sort_by_key(|s| s.address);
    let mut found = Vec::new();
    for symbol in symbols.iter() {
        let first = by_address.partition_point(|s| s.address < symbol.address);
        let mangled = prefixes.iter().any(|prefix| symbol.name.starts_with(prefix));
        let same = by_address.get(first).filter(|s| s.address == symbol.address && mangled);
        if let Some(name) = same {
            found.push((symbol.clone(), Some(name.name.clone())));
        } else if wildcard::matches(pattern, &symbol.name) {
            found.push((symbol.clone(), None));
        }
    }
    Ok(found)
}

impl Resolver<'_> {
    /// Probes on the functions of a binary that are called so in a language: (binary, language, name).
    pub(super) fn by_language(
        &self,
        spec: &Spec,
        (binary, language, pattern): (&str, &str, &str),
        span: Span,
    ) -> Result<Vec<Instance>, Fault> {
        if !is_language(language) {
            let names: Vec<&str> = LANGUAGES.iter().map(|(name, _)| *name).collect();
            let d = Diagnostic::error("bad-probe", span, format!("unsupported language type: {language}"))
                .hint(format!("languages are: {}", names.join(", ")));
            return Err(Box::new(d));
        }
        let mut all = Vec::new();
        for path in self.binaries(spec.kind, binary, span)? {
            let found = find(self.target, &path, language, pattern)
                .map_err(|error| cannot(&format!("read the symbols of {path}"), &error, span))?;
            // Aliases of one place are one probe.
            let mut hits: Vec<&Symbol> = found.iter().map(|(symbol, _)| symbol).collect();
            hits.sort_by_key(|s| s.offset);
            hits.dedup_by_key(|s| s.offset);
            if hits.is_empty() && !wildcard::has_wildcard(binary) && !wildcard::has_wildcard(pattern) {
                return Err(self.no_name(&path, pattern, span));
            }
            all.extend(self.each(spec, &format!("{language}:{pattern}"), &path, &hits, span));
        }
        Ok(all)
    }

    fn no_name(&self, path: &str, name: &str, span: Span) -> Fault {
        let message = format!("{path} has no function `{name}`");
        let d = Diagnostic::error("unknown-probe", span, message);
        let known = self.target.demangled_symbols(path).unwrap_or_default();
        let near = suggest::near(name, known.iter().map(|s| without_parameters(&s.name)), 3);
        Box::new(match near.as_slice() {
            [] => d,
            near => d.hint(format!("did you mean `{}`?", near.join("`, `"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_what_the_last_parentheses_hold() {
        assert_eq!(without_parameters("ns::f(int, void (*)(int))"), "ns::f");
        assert_eq!(without_parameters("ns::operator()(int)"), "ns::operator()");
        assert_eq!(without_parameters("f"), "f");
        assert_eq!(without_parameters("(anonymous namespace)::f(int) const"), "(anonymous namespace)::f");
        assert_eq!(without_parameters(")"), ")");
    }
}
