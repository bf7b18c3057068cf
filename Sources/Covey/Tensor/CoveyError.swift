/// What went wrong, and where.  Every function of the core that can fail
/// throws this and nothing else; the interface turns it into a status and the
/// thread's last error.
struct CoveyError: Error {
  enum Kind {
    case argument
    case memory
    case io
    case format
    case version
    case unsupported
    case capacity
    case cancelled
    case internalError
    case state
  }

  let kind: Kind

  /// Names the thing, what was expected and what was found, for instance
  /// `encoder.blocks.3.attn.qkv.weight: expected 1152x384, found 1152x192`.
  let message: String

  @inline(never)
  init(_ kind: Kind, _ message: Message) {
    self.kind = kind
    self.message = message.text
  }
}
