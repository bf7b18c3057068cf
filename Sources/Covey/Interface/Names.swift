public import CCovey

// Enumerators as text: their names in covey.h, in lower case.

/// Lives as long as the library.
func cString(_ text: StaticString) -> UnsafePointer<CChar> {
  UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

@c @implementation
public func covey_log_level_string(_ level: covey_log_level) -> UnsafePointer<CChar>! {
  switch level {
  case COVEY_LOG_ERROR: cString("error")
  case COVEY_LOG_WARNING: cString("warning")
  case COVEY_LOG_INFO: cString("info")
  case COVEY_LOG_DEBUG: cString("debug")
  default: cString("unknown")
  }
}

@c @implementation
public func covey_dtype_string(_ dtype: covey_dtype) -> UnsafePointer<CChar>! {
  switch dtype {
  case COVEY_DTYPE_F32: cString("f32")
  case COVEY_DTYPE_F16: cString("f16")
  case COVEY_DTYPE_Q8: cString("q8")
  default: cString("unknown")
  }
}

@c @implementation
public func covey_pixel_format_string(_ format: covey_pixel_format) -> UnsafePointer<CChar>! {
  switch format {
  case COVEY_PIXEL_RGB8: cString("rgb8")
  case COVEY_PIXEL_BGR8: cString("bgr8")
  case COVEY_PIXEL_RGBA8: cString("rgba8")
  case COVEY_PIXEL_BGRA8: cString("bgra8")
  case COVEY_PIXEL_GRAY8: cString("gray8")
  case COVEY_PIXEL_I420: cString("i420")
  case COVEY_PIXEL_NV12: cString("nv12")
  case COVEY_PIXEL_YUYV: cString("yuyv")
  case COVEY_PIXEL_P010: cString("p010")
  default: cString("unknown")
  }
}

@c @implementation
public func covey_stage_string(_ stage: covey_stage) -> UnsafePointer<CChar>! {
  switch stage {
  case COVEY_STAGE_ENCODE: cString("encode")
  case COVEY_STAGE_CLUSTER: cString("cluster")
  case COVEY_STAGE_MERGE: cString("merge")
  case COVEY_STAGE_ASSIGN: cString("assign")
  case COVEY_STAGE_TRAIN: cString("train")
  default: cString("unknown")
  }
}

@c @implementation
public func covey_mode_string(_ mode: covey_mode) -> UnsafePointer<CChar>! {
  switch mode {
  case COVEY_MODE_EDGE: cString("edge")
  case COVEY_MODE_REFERENCE: cString("reference")
  default: cString("unknown")
  }
}
