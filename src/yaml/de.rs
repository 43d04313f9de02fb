//! Typed values out of nodes: a mistake is reported at the place of the innermost key or value that holds it.
//!
//! Leaves out borrowed data and guessing: `"22"` is not the number 22. Messages never show values, which may be secret.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Kind, Node};
use crate::error::{Error, Place};

/// A typed value. An unknown key is answered with the nearest known one.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> crate::error::Result<T> {
    T::deserialize(node).map_err(|fault| {
        let error = Error::at(fault.place.as_ref().unwrap_or(&node.place), fault.text);
        match fault.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// An error on its way up to the first node that knows its place.
#[derive(Debug)]
pub struct Fault {
    place: Option<Place>,
    text: String,
    hint: Option<String>,
}

impl Fault {
    fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault { place: None, text: message.to_string(), hint: None }
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::custom(format!("expected {expected}, found {}", kind_of(&found)))
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::custom(format!("expected {expected}, and this {} is not", kind_of(&found)))
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        unknown("key", field, expected)
    }
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        unknown("value", variant, expected)
    }
    fn missing_field(field: &'static str) -> Self {
        Fault::custom(format!("the key `{field}` is missing"))
    }
    fn duplicate_field(field: &'static str) -> Self {
        Fault::custom(format!("the key `{field}` is given twice, once by another name"))
    }
}

fn unknown(what: &str, word: &str, expected: &[&str]) -> Fault {
    let hint = match crate::error::nearest(word, expected.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if expected.is_empty() => None,
        None => Some(format!("known here: {}", expected.join(", "))),
    };
    Fault { place: None, text: format!("unknown {what} `{word}`"), hint }
}

fn kind_of(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "integer",
        Unexpected::Float(_) => "number",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "string",
        Unexpected::Unit | Unexpected::Option => "empty value",
        Unexpected::Seq => "list",
        Unexpected::Map => "mapping",
        _ => "other kind of value",
    }
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(flag) => visitor.visit_bool(*flag),
            Kind::Int(number) => visitor.visit_i64(*number),
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::String(text) => visitor.visit_str(text),
            Kind::List(items) => visitor.visit_seq(Items { rest: items.iter() }),
            Kind::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        }
        .map_err(|fault| fault.at(&self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.is_null() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// Only a mapping: serde would take a list as the fields in their order, too.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.kind {
            Kind::Map(_) => self.deserialize_any(visitor),
            _ => {
                let text = format!("expected a mapping, found {}", self.describe());
                Err(<Fault as de::Error>::custom(text).at(&self.place))
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let choice = match &self.kind {
            Kind::String(_) => Choice { name: self, value: None },
            Kind::Map(entries) if entries.len() == 1 => Choice { name: &entries[0].0, value: Some(&entries[0].1) },
            _ => {
                let text = format!("expected a name or a mapping with one key, found {}", self.describe());
                return Err(<Fault as de::Error>::custom(text).at(&self.place));
            }
        };
        visitor.visit_enum(choice).map_err(|fault| fault.at(&self.place))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

struct Items<'n> {
    rest: std::slice::Iter<'n, Node>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.rest.next().map(|node| seed.deserialize(node).map_err(|fault| fault.at(&node.place))).transpose()
    }
}

struct Entries<'n> {
    rest: std::slice::Iter<'n, (Node, Node)>,
    value: Option<&'n Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Fault;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let text = key.key_text();
        let name: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|fault| fault.at(&key.place))
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        match self.value.take() {
            Some(node) => seed.deserialize(node).map_err(|fault| fault.at(&node.place)),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// An enum's variant, and what belongs to it.
struct Choice<'n> {
    name: &'n Node,
    value: Option<&'n Node>,
}

impl<'de, 'n> de::EnumAccess<'de> for Choice<'n> {
    type Error = Fault;
    type Variant = Choice<'n>;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), Fault> {
        let name = seed.deserialize(self.name).map_err(|fault| fault.at(&self.name.place))?;
        Ok((name, self))
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'_> {
    type Error = Fault;
    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            Some(node) if !node.is_null() => Err(<Fault as de::Error>::custom("takes no value").at(&node.place)),
            _ => Ok(()),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.needed()?)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.needed()?.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.needed()?.deserialize_any(visitor)
    }
}

impl<'n> Choice<'n> {
    fn needed(&self) -> Result<&'n Node, Fault> {
        let missing = || <Fault as de::Error>::custom("needs a value").at(&self.name.place);
        self.value.ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde::Deserialize;

    use super::*;
    use crate::yaml::parse;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "lowercase")]
    struct Package {
        name: String,
        #[serde(default)]
        port: Option<u16>,
        #[serde(default)]
        kind: Kind,
        #[serde(default)]
        labels: BTreeMap<String, bool>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Web,
        Job {
            every: u32,
        },
        Named(String),
    }

    fn read<T: DeserializeOwned>(text: &str) -> crate::error::Result<T> {
        let nodes = parse(text, Path::new("p.yml"))?;
        from_node(&nodes[0])
    }

    #[test]
    fn typed_values() {
        let package: Package = read("name: hub\nport: 0644\nkind: {job: {every: 5}}\nlabels: {on: yes}\n").unwrap();
        let labels = BTreeMap::from([("True".to_owned(), true)]);
        assert_eq!(package, Package { name: "hub".into(), port: Some(420), kind: Kind::Job { every: 5 }, labels });
        assert_eq!(read::<Vec<Kind>>("[web, {named: x}]").unwrap(), [Kind::Web, Kind::Named("x".into())]);
    }

    #[test]
    fn mistakes_name_their_place() {
        let table = [
            ("name: a\nprot: 1\n", "p.yml:2: unknown key `prot`\n       hint: did you mean `port`?"),
            ("name: a\nport: 70000\n", "p.yml:2: expected u16, and this integer is not"),
            ("name: a\nport: 'x'\n", "p.yml:2: expected u16, found string"),
            ("port: 1\n", "p.yml:1: the key `name` is missing"),
            ("name: a\nkind: wb\n", "p.yml:2: unknown value `wb`\n       hint: did you mean `web`?"),
            ("name: a\nlabels:\n  x: 3\n", "p.yml:3: expected a boolean, found integer"),
            ("name: 5\n", "p.yml:1: expected a string, found integer"),
            ("- a\n", "p.yml:1: expected a mapping, found a list"),
        ];
        for (text, expected) in table {
            assert_eq!(read::<Package>(text).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
