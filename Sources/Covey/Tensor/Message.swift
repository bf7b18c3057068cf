/// A text put together from pieces: what messages of errors are made of.
///
/// As a `String` each piece of an interpolation is a hundred bytes of code where it
/// stands; here it is one call.  That is a third of the library.
struct Message: ExpressibleByStringInterpolation, StringInterpolationProtocol {
  private(set) var text: String

  @inline(never)
  init(stringLiteral literal: StaticString) {
    text = literal.description
  }

  @inline(never)
  init(stringInterpolation: Message) {
    text = stringInterpolation.text
  }

  @inline(never)
  init(literalCapacity: Int, interpolationCount: Int) {
    text = ""
  }

  @inline(never)
  mutating func appendLiteral(_ literal: StaticString) {
    text += literal.description
  }

  @inline(never)
  mutating func appendInterpolation(_ piece: String) {
    text += piece
  }

  @inline(never)
  mutating func appendInterpolation(_ piece: StaticString) {
    text += piece.description
  }

  mutating func appendInterpolation(_ number: some SignedInteger & FixedWidthInteger) {
    append(Int64(number))
  }

  mutating func appendInterpolation(_ number: some UnsignedInteger & FixedWidthInteger) {
    append(UInt64(number))
  }

  @inline(never)
  private mutating func append(_ number: Int64) {
    text += number.description
  }

  @inline(never)
  private mutating func append(_ number: UInt64) {
    text += number.description
  }

  @inline(never)
  static func + (first: Message, second: Message) -> Message {
    var sum = first
    sum.text += second.text
    return sum
  }
}
